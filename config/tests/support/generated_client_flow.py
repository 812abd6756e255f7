"""Script that uses every endpoint with the client that is generated from the OpenAPI document.

`test_generated_client.py` runs it; its arguments are base URL, directory of mails and API key.
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

Response = TypeVar("Response")
ADA, NEW_ADDRESS, UNKNOWN = "ada@example.com", "ada@example.org", "unknown@example.com"
FIRST, SECOND, THIRD = (f"{number} lanterns above a quiet harbour" for number in ("seven", "eight", "nine"))
LINK = re.compile(r"/account/([a-z-]+)/(?!undo/)([\w-]+)/([\w-]+)/")
MAIL_SECONDS = 20


def expect(kind: type[Response], response: object) -> Response:
    assert isinstance(response, kind), response
    return response


class Mailbox:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def link(self, page: str) -> tuple[str, str]:
        """`uid` and `token` of the newest link to `page`. Deletes its mail."""
        deadline = time.monotonic() + MAIL_SECONDS
        while time.monotonic() < deadline:
            mails = sorted(
                self.directory.glob("*.log"), key=lambda mail: mail.stat().st_mtime_ns, reverse=True
            )
            for mail in mails:
                for kind, uid, token in LINK.findall(mail.read_text()):
                    if kind == page:
                        mail.unlink()
                        return uid, token
            time.sleep(0.1)
        raise AssertionError(page)


class ClientFlow:
    def __init__(self, url: str, mailbox: Mailbox, key: str) -> None:
        self.url, self.mailbox = url, mailbox
        self.anonymous = Client(url, raise_on_unexpected_status=True)
        self.resource_server = self.bearer(key)

    def bearer(self, token: str) -> AuthenticatedClient:
        return AuthenticatedClient(self.url, token, raise_on_unexpected_status=True)

    def log_in(self, email: str = ADA, password: str = FIRST) -> TokenPairResponse:
        body = LoginRequest(email, password)
        return expect(TokenPairResponse, login.sync(client=self.anonymous, body=body))

    def is_refused(self, token: str) -> bool:
        return isinstance(me_get.sync(client=self.bearer(token)), Problem401InvalidToken)

    # --- steps, in this order --------------------------------------------------------------------

    def read_operations_endpoints(self) -> None:
        expect(HealthResponse, healthz.sync(client=self.anonymous))
        expect(HealthResponse, readyz.sync(client=self.anonymous))
        jwks = expect(JWKSResponse, well_known_jwks_json.sync(client=self.anonymous))
        assert {key.use for key in jwks.keys} == {"sig"}
        assert "auth_requests_total" in expect(str, metrics.sync(client=self.resource_server))

    def sign_up(self) -> None:
        weak = register.sync(client=self.anonymous, body=RegisterRequest(ADA, "short"))
        problem = expect(Problem400InvalidInput, weak)
        assert not isinstance(problem.errors, Unset)
        assert (problem.status, problem.code, problem.errors[0].field) == (400, "invalid_input", "password")
        body = PasswordValidateRequest(FIRST)
        assert expect(
            PasswordValidateResponse, password_validate.sync(client=self.anonymous, body=body)
        ).is_valid
        expect(DetailResponse, register.sync(client=self.anonymous, body=RegisterRequest(ADA, FIRST, "Ada")))
        self.mailbox.link("verify-email")
        expect(DetailResponse, email_verify_resend.sync(client=self.anonymous, body=EmailRequest(ADA)))

    def verify(self) -> None:
        uid, token = self.mailbox.link("verify-email")
        wrong = email_verify.sync(client=self.anonymous, body=VerifyEmailRequest(uid, token, SECOND))
        assert expect(Problem400InvalidTokenOrInvalidInput, wrong).code == "invalid_token"
        pair = email_verify.sync(client=self.anonymous, body=VerifyEmailRequest(uid, token, FIRST))
        assert expect(TokenPairResponse, pair).token_type == "Bearer"

    def use_profile(self) -> None:
        wrong = login.sync(client=self.anonymous, body=LoginRequest(ADA, SECOND))
        assert expect(Problem401InvalidCredentials, wrong).code == "invalid_credentials"
        ada = self.bearer(self.log_in().access)
        me = expect(ProfileResponse, me_get.sync(client=ada))
        assert (me.email, me.display_name, me.email_verified) == (ADA, "Ada", True)
        updated = me_update.sync(client=ada, body=PatchedProfileRequest("Ada L."))
        assert expect(ProfileResponse, updated).display_name == "Ada L."
        too_long = me_update.sync(client=ada, body=PatchedProfileRequest("A" * 101))
        assert expect(Problem400InvalidInput, too_long).code == "invalid_input"

    def refresh(self) -> None:
        used = RefreshRequest(self.log_in().refresh)
        second = expect(TokenPairResponse, refresh.sync(client=self.anonymous, body=used))
        third = refresh.sync(client=self.anonymous, body=RefreshRequest(second.refresh))
        assert not self.is_refused(expect(TokenPairResponse, third).access)
        reused = refresh.sync(client=self.anonymous, body=used)
        assert expect(Problem401InvalidTokenOrTokenReused, reused).code == "token_reused"
        assert self.is_refused(second.access)

    def list_and_end_sessions(self) -> None:
        first_pair, second_pair = self.log_in(), self.log_in()
        page = expect(PaginatedSessionResponseList, sessions_list.sync(client=self.bearer(first_pair.access)))
        (current,) = (session.id for session in page.results if session.current)
        assert (page.next_, page.previous) == (None, None)
        assert sessions_delete.sync(current, client=self.bearer(second_pair.access)) is None
        assert self.is_refused(first_pair.access)
        again = sessions_delete.sync(current, client=self.bearer(second_pair.access))
        assert expect(Problem404NotFound, again).code == "not_found"

    def change_password(self) -> None:
        other, ada = self.log_in(), self.bearer(self.log_in().access)
        wrong = password_change.sync(client=ada, body=PasswordChangeRequest(THIRD, SECOND))
        assert expect(Problem403InvalidCredentials, wrong).code == "invalid_credentials"
        assert password_change.sync(client=ada, body=PasswordChangeRequest(FIRST, SECOND)) is None
        assert self.is_refused(other.access)
        expect(ProfileResponse, me_get.sync(client=ada))

    def log_out(self) -> None:
        pair, other = self.log_in(password=SECOND), self.log_in(password=SECOND)
        body = RefreshRequest(pair.refresh)
        assert logout.sync(client=self.bearer(pair.access), body=body) is None
        assert self.is_refused(pair.access)
        rubbish = logout.sync(client=self.bearer(pair.access), body=RefreshRequest("rubbish"))
        assert expect(Problem401InvalidToken, rubbish).code == "invalid_token"
        assert logout_all.sync(client=self.bearer(other.access)) is None
        assert self.is_refused(other.access)

    def reset_password(self) -> None:
        expect(DetailResponse, password_reset.sync(client=self.anonymous, body=EmailRequest(ADA)))
        body = PasswordResetConfirmRequest(*self.mailbox.link("reset"), THIRD)
        assert password_reset_confirm.sync(client=self.anonymous, body=body) is None
        reused = password_reset_confirm.sync(client=self.anonymous, body=body)
        assert expect(Problem400InvalidTokenOrInvalidInput, reused).code == "invalid_token"

    def change_address(self) -> None:
        ada = self.bearer(self.log_in(password=THIRD).access)
        body = EmailChangeRequest(NEW_ADDRESS, THIRD)
        expect(DetailResponse, email_change.sync(client=ada, body=body))
        link = LinkRequest(*self.mailbox.link("email-change"))
        assert email_change_confirm.sync(client=self.anonymous, body=link) is None
        assert expect(ProfileResponse, me_get.sync(client=ada)).email == NEW_ADDRESS

    def use_end_user_sessions(self) -> None:
        ada = self.bearer(self.log_in(NEW_ADDRESS, THIRD).access)
        metadata = OpenEndUserSessionRequestMetadata.from_dict({"theme": "dark"})
        body = OpenEndUserSessionRequest(expect(ProfileResponse, me_get.sync(client=ada)).id, metadata)
        first, second = (
            expect(
                OpenEndUserSessionResponse, end_users_sessions_create.sync(client=self.anonymous, body=body)
            )
            for _ in range(2)
        )
        end_user = self.bearer(first.session)
        current = expect(EndUserSessionResponse, end_users_sessions_current_get.sync(client=end_user))
        assert (current.id, current.metadata["theme"]) == (first.session_id, "dark")
        page = expect(PaginatedEndUserSessionResponseList, end_users_sessions_list.sync(client=ada))
        assert [session.id for session in page.results] == [second.session_id, first.session_id]
        assert end_users_sessions_current_delete.sync(client=end_user) is None
        assert end_users_sessions_delete.sync(second.session_id, client=ada) is None
        ended = end_users_sessions_current_get.sync(client=self.bearer(second.session))
        assert expect(Problem401InvalidToken, ended).code == "invalid_token"

    def introspect_and_revoke(self) -> None:
        token = TokenRequest(self.log_in(NEW_ADDRESS, THIRD).access)
        live = expect(IntrospectResponse, token_introspect.sync(client=self.resource_server, body=token))
        assert (live.active, live.token_type) == (True, "access")
        token_revoke.sync(client=self.resource_server, body=token)
        assert not expect(
            IntrospectResponse, token_introspect.sync(client=self.resource_server, body=token)
        ).active
        refused = token_introspect.sync(client=self.bearer("no key"), body=token)
        assert expect(Problem401InvalidToken, refused).code == "invalid_token"

    def export_and_delete(self) -> None:
        ada = self.bearer(self.log_in(NEW_ADDRESS, THIRD).access)
        events = expect(PaginatedAuditEventResponseList, audit_events_list.sync(client=ada))
        assert "login.succeeded" in {event.type_ for event in events.results}
        export = expect(ExportResponse, me_export.sync(client=ada))
        assert export.profile.email == NEW_ADDRESS
        parts: list[Any] = [export, export.profile, *export.sessions, *export.end_user_sessions]
        assert not [part for part in parts if part.additional_properties], "the document lacks these fields"
        assert me_delete.sync(client=ada, body=PasswordRequest(THIRD)) is None
        assert self.is_refused(ada.token)

    def lock_out(self) -> None:
        responses = [login.sync(client=self.anonymous, body=LoginRequest(UNKNOWN, FIRST)) for _ in range(6)]
        assert [type(response) for response in responses[:5]] == [Problem401InvalidCredentials] * 5
        assert expect(Problem429AccountLockedOrRateLimited, responses[5]).code == "account_locked"


def main(url: str, mails: str, key: str) -> None:
    flow = ClientFlow(url, Mailbox(Path(mails)), key)
    for step in (
        flow.read_operations_endpoints,
        flow.sign_up,
        flow.verify,
        flow.use_profile,
        flow.refresh,
        flow.list_and_end_sessions,
        flow.change_password,
        flow.log_out,
        flow.reset_password,
        flow.change_address,
        flow.use_end_user_sessions,
        flow.introspect_and_revoke,
        flow.export_and_delete,
        flow.lock_out,
    ):
        step()


if __name__ == "__main__":
    main(*sys.argv[1:])
