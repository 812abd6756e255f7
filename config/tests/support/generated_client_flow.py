"""The journey of a creator as a client team would write it, with the package generated from the document.

Run by `test_generated_client.py`: base URL, folder of mails and API key are its arguments.
"""

import re
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

from creator_accounts import AuthenticatedClient, Client
from creator_accounts.api.audit import audit_events_list
from creator_accounts.api.auth import (
    email_change,
    email_change_confirm,
    email_verify,
    email_verify_resend,
    login,
    logout,
    logout_all,
    me_delete,
    me_export,
    me_get,
    me_update,
    password_change,
    password_reset,
    password_reset_confirm,
    password_validate,
    refresh,
    register,
    sessions_delete,
    sessions_list,
    token_introspect,
    token_revoke,
)
from creator_accounts.api.end_users import (
    end_users_sessions_create,
    end_users_sessions_current_delete,
    end_users_sessions_current_get,
    end_users_sessions_delete,
    end_users_sessions_list,
)
from creator_accounts.api.operations import healthz, metrics, readyz, well_known_jwks_json
from creator_accounts.models import (
    DetailResponse,
    EmailChangeRequest,
    EmailRequest,
    EndUserSessionResponse,
    ExportResponse,
    HealthResponse,
    IntrospectResponse,
    JWKSResponse,
    LinkRequest,
    LoginRequest,
    OpenEndUserSessionRequest,
    OpenEndUserSessionRequestMetadata,
    OpenEndUserSessionResponse,
    PaginatedAuditEventResponseList,
    PaginatedEndUserSessionResponseList,
    PaginatedSessionResponseList,
    PasswordChangeRequest,
    PasswordRequest,
    PasswordResetConfirmRequest,
    PasswordValidateRequest,
    PasswordValidateResponse,
    PatchedProfileRequest,
    Problem400InvalidInput,
    Problem400InvalidTokenOrInvalidInput,
    Problem401InvalidCredentials,
    Problem401InvalidToken,
    Problem401InvalidTokenOrTokenReused,
    Problem403InvalidCredentials,
    Problem404NotFound,
    Problem429AccountLockedOrRateLimited,
    ProfileResponse,
    RefreshRequest,
    RegisterRequest,
    TokenPairResponse,
    TokenRequest,
    VerifyEmailRequest,
)
from creator_accounts.types import Unset

Answer = TypeVar("Answer")
ADA, NEW_ADDRESS, STRANGER = "ada@example.com", "ada@example.org", "stranger@example.com"
FIRST, SECOND, THIRD = (f"{number} lanterns above a quiet harbour" for number in ("seven", "eight", "nine"))
LINK = re.compile(r"/account/([a-z-]+)/(?!undo/)([\w-]+)/([\w-]+)/")
MAIL_SECONDS = 20


def expect(kind: type[Answer], answer: object) -> Answer:
    assert isinstance(answer, kind), answer
    return answer


class Mailbox:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def link(self, page: str) -> tuple[str, str]:
        """`uid` and `token` of the newest link to a page."""
        deadline = time.monotonic() + MAIL_SECONDS
        while time.monotonic() < deadline:
            mails = sorted(self.folder.glob("*.log"), key=lambda mail: mail.stat().st_mtime_ns, reverse=True)
            for mail in mails:
                for kind, uid, token in LINK.findall(mail.read_text()):
                    if kind == page:
                        mail.unlink()
                        return uid, token
            time.sleep(0.1)
        raise AssertionError(page)


class Journey:
    def __init__(self, url: str, mailbox: Mailbox, key: str) -> None:
        self.url, self.mailbox = url, mailbox
        self.anybody = Client(url, raise_on_unexpected_status=True)
        self.shop = self.bearer(key)

    def bearer(self, token: str) -> AuthenticatedClient:
        return AuthenticatedClient(self.url, token, raise_on_unexpected_status=True)

    def log_in(self, email: str = ADA, password: str = FIRST) -> TokenPairResponse:
        body = LoginRequest(email, password)
        return expect(TokenPairResponse, login.sync(client=self.anybody, body=body))

    def is_refused(self, token: str) -> bool:
        return isinstance(me_get.sync(client=self.bearer(token)), Problem401InvalidToken)

    # --- in order -------------------------------------------------------------------------------

    def look_around(self) -> None:
        expect(HealthResponse, healthz.sync(client=self.anybody))
        expect(HealthResponse, readyz.sync(client=self.anybody))
        jwks = expect(JWKSResponse, well_known_jwks_json.sync(client=self.anybody))
        assert {key.use for key in jwks.keys} == {"sig"}
        assert "auth_requests_total" in expect(str, metrics.sync(client=self.shop))

    def sign_up(self) -> None:
        weak = register.sync(client=self.anybody, body=RegisterRequest(ADA, "short"))
        problem = expect(Problem400InvalidInput, weak)
        assert not isinstance(problem.errors, Unset)
        assert (problem.status, problem.code, problem.errors[0].field) == (400, "invalid_input", "password")
        body = PasswordValidateRequest(FIRST)
        assert expect(
            PasswordValidateResponse, password_validate.sync(client=self.anybody, body=body)
        ).is_valid
        expect(DetailResponse, register.sync(client=self.anybody, body=RegisterRequest(ADA, FIRST, "Ada")))
        self.mailbox.link("verify-email")
        expect(DetailResponse, email_verify_resend.sync(client=self.anybody, body=EmailRequest(ADA)))

    def verify(self) -> None:
        uid, token = self.mailbox.link("verify-email")
        wrong = email_verify.sync(client=self.anybody, body=VerifyEmailRequest(uid, token, SECOND))
        assert expect(Problem400InvalidTokenOrInvalidInput, wrong).code == "invalid_token"
        pair = email_verify.sync(client=self.anybody, body=VerifyEmailRequest(uid, token, FIRST))
        assert expect(TokenPairResponse, pair).token_type == "Bearer"

    def be_ada(self) -> None:
        wrong = login.sync(client=self.anybody, body=LoginRequest(ADA, SECOND))
        assert expect(Problem401InvalidCredentials, wrong).code == "invalid_credentials"
        ada = self.bearer(self.log_in().access)
        me = expect(ProfileResponse, me_get.sync(client=ada))
        assert (me.email, me.display_name, me.email_verified) == (ADA, "Ada", True)
        named = me_update.sync(client=ada, body=PatchedProfileRequest("Ada L."))
        assert expect(ProfileResponse, named).display_name == "Ada L."
        too_long = me_update.sync(client=ada, body=PatchedProfileRequest("A" * 101))
        assert expect(Problem400InvalidInput, too_long).code == "invalid_input"

    def refresh(self) -> None:
        spent = RefreshRequest(self.log_in().refresh)
        second = expect(TokenPairResponse, refresh.sync(client=self.anybody, body=spent))
        third = refresh.sync(client=self.anybody, body=RefreshRequest(second.refresh))
        assert not self.is_refused(expect(TokenPairResponse, third).access)
        reused = refresh.sync(client=self.anybody, body=spent)
        assert expect(Problem401InvalidTokenOrTokenReused, reused).code == "token_reused"
        assert self.is_refused(second.access)

    def see_sessions(self) -> None:
        here, there = self.log_in(), self.log_in()
        page = expect(PaginatedSessionResponseList, sessions_list.sync(client=self.bearer(here.access)))
        (current,) = (session.id for session in page.results if session.current)
        assert (page.next_, page.previous) == (None, None)
        assert sessions_delete.sync(current, client=self.bearer(there.access)) is None
        assert self.is_refused(here.access)
        again = sessions_delete.sync(current, client=self.bearer(there.access))
        assert expect(Problem404NotFound, again).code == "not_found"

    def change_password(self) -> None:
        other, ada = self.log_in(), self.bearer(self.log_in().access)
        wrong = password_change.sync(client=ada, body=PasswordChangeRequest(THIRD, SECOND))
        assert expect(Problem403InvalidCredentials, wrong).code == "invalid_credentials"
        assert password_change.sync(client=ada, body=PasswordChangeRequest(FIRST, SECOND)) is None
        assert self.is_refused(other.access)
        expect(ProfileResponse, me_get.sync(client=ada))

    def sign_out(self) -> None:
        pair, other = self.log_in(password=SECOND), self.log_in(password=SECOND)
        body = RefreshRequest(pair.refresh)
        assert logout.sync(client=self.bearer(pair.access), body=body) is None
        assert self.is_refused(pair.access)
        rubbish = logout.sync(client=self.bearer(pair.access), body=RefreshRequest("rubbish"))
        assert expect(Problem401InvalidToken, rubbish).code == "invalid_token"
        assert logout_all.sync(client=self.bearer(other.access)) is None
        assert self.is_refused(other.access)

    def reset_password(self) -> None:
        expect(DetailResponse, password_reset.sync(client=self.anybody, body=EmailRequest(ADA)))
        body = PasswordResetConfirmRequest(*self.mailbox.link("reset"), THIRD)
        assert password_reset_confirm.sync(client=self.anybody, body=body) is None
        spent = password_reset_confirm.sync(client=self.anybody, body=body)
        assert expect(Problem400InvalidTokenOrInvalidInput, spent).code == "invalid_token"

    def change_address(self) -> None:
        ada = self.bearer(self.log_in(password=THIRD).access)
        body = EmailChangeRequest(NEW_ADDRESS, THIRD)
        expect(DetailResponse, email_change.sync(client=ada, body=body))
        link = LinkRequest(*self.mailbox.link("email-change"))
        assert email_change_confirm.sync(client=self.anybody, body=link) is None
        assert expect(ProfileResponse, me_get.sync(client=ada)).email == NEW_ADDRESS

    def have_visitors(self) -> None:
        ada = self.bearer(self.log_in(NEW_ADDRESS, THIRD).access)
        metadata = OpenEndUserSessionRequestMetadata.from_dict({"theme": "dark"})
        body = OpenEndUserSessionRequest(expect(ProfileResponse, me_get.sync(client=ada)).id, metadata)
        first, second = (
            expect(OpenEndUserSessionResponse, end_users_sessions_create.sync(client=self.anybody, body=body))
            for _ in range(2)
        )
        visitor = self.bearer(first.session)
        current = expect(EndUserSessionResponse, end_users_sessions_current_get.sync(client=visitor))
        assert (current.id, current.metadata["theme"]) == (first.session_id, "dark")
        page = expect(PaginatedEndUserSessionResponseList, end_users_sessions_list.sync(client=ada))
        assert [one.id for one in page.results] == [second.session_id, first.session_id]
        assert end_users_sessions_current_delete.sync(client=visitor) is None
        assert end_users_sessions_delete.sync(second.session_id, client=ada) is None
        gone = end_users_sessions_current_get.sync(client=self.bearer(second.session))
        assert expect(Problem401InvalidToken, gone).code == "invalid_token"

    def be_a_resource_server(self) -> None:
        token = TokenRequest(self.log_in(NEW_ADDRESS, THIRD).access)
        live = expect(IntrospectResponse, token_introspect.sync(client=self.shop, body=token))
        assert (live.active, live.token_type) == (True, "access")
        token_revoke.sync(client=self.shop, body=token)
        assert not expect(IntrospectResponse, token_introspect.sync(client=self.shop, body=token)).active
        stranger = token_introspect.sync(client=self.bearer("no key"), body=token)
        assert expect(Problem401InvalidToken, stranger).code == "invalid_token"

    def take_everything_and_leave(self) -> None:
        ada = self.bearer(self.log_in(NEW_ADDRESS, THIRD).access)
        events = expect(PaginatedAuditEventResponseList, audit_events_list.sync(client=ada))
        assert "login.succeeded" in {event.type_ for event in events.results}
        export = expect(ExportResponse, me_export.sync(client=ada))
        assert export.profile.email == NEW_ADDRESS
        parts: list[Any] = [export, export.profile, *export.sessions, *export.end_user_sessions]
        assert not [part for part in parts if part.additional_properties], "the document leaves it out"
        assert me_delete.sync(client=ada, body=PasswordRequest(THIRD)) is None
        assert self.is_refused(ada.token)

    def be_locked_out(self) -> None:
        answers = [login.sync(client=self.anybody, body=LoginRequest(STRANGER, FIRST)) for _ in range(6)]
        assert [type(answer) for answer in answers[:5]] == [Problem401InvalidCredentials] * 5
        assert expect(Problem429AccountLockedOrRateLimited, answers[5]).code == "account_locked"


def main(url: str, mails: str, key: str) -> None:
    journey = Journey(url, Mailbox(Path(mails)), key)
    for step in (
        journey.look_around,
        journey.sign_up,
        journey.verify,
        journey.be_ada,
        journey.refresh,
        journey.see_sessions,
        journey.change_password,
        journey.sign_out,
        journey.reset_password,
        journey.change_address,
        journey.have_visitors,
        journey.be_a_resource_server,
        journey.take_everything_and_leave,
        journey.be_locked_out,
    ):
        step()


if __name__ == "__main__":
    main(*sys.argv[1:])
