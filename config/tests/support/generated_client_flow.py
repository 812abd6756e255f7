"""A flow through all endpoints with the client that was generated from the OpenAPI document.

Run by `test_generated_client.py` with the base URL, the folder of the mails and an API key.
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
    AuditEventListResponse,
    DetailResponse,
    EmailChangeRequest,
    EmailRequest,
    EndUserSessionListResponse,
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
    PasswordChangeRequest,
    PasswordRequest,
    PasswordResetConfirmRequest,
    PasswordValidateRequest,
    PasswordValidateResponse,
    PatchedProfileRequest,
    Problem400InvalidInputResponse,
    Problem400InvalidTokenOrInvalidInputResponse,
    Problem401InvalidCredentialsResponse,
    Problem401InvalidTokenOrTokenReusedResponse,
    Problem401InvalidTokenResponse,
    Problem403InvalidCredentialsResponse,
    Problem404NotFoundResponse,
    Problem429AccountLockedOrRateLimitedResponse,
    ProfileResponse,
    RefreshRequest,
    RegisterRequest,
    SessionListResponse,
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


class Flow:
    def __init__(self, url: str, mailbox: Mailbox, key: str) -> None:
        self.url, self.mailbox = url, mailbox
        self.anonymous = Client(url, raise_on_unexpected_status=True)
        self.resource_server = self.client_with(key)

    def client_with(self, token: str) -> AuthenticatedClient:
        return AuthenticatedClient(self.url, token, raise_on_unexpected_status=True)

    def log_in(self, email: str = ADA, password: str = FIRST) -> TokenPairResponse:
        body = LoginRequest(email, password)
        return expect(TokenPairResponse, login.sync(client=self.anonymous, body=body))

    def is_invalid(self, token: str) -> bool:
        return isinstance(me_get.sync(client=self.client_with(token)), Problem401InvalidTokenResponse)

    # --- in order -------------------------------------------------------------------------------

    def infrastructure(self) -> None:
        expect(HealthResponse, healthz.sync(client=self.anonymous))
        expect(HealthResponse, readyz.sync(client=self.anonymous))
        jwks = expect(JWKSResponse, well_known_jwks_json.sync(client=self.anonymous))
        assert {key.use for key in jwks.keys} == {"sig"}
        assert "auth_requests_total" in expect(str, metrics.sync(client=self.resource_server))

    def sign_up(self) -> None:
        weak = register.sync(client=self.anonymous, body=RegisterRequest(ADA, "short"))
        problem = expect(Problem400InvalidInputResponse, weak)
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
        assert expect(Problem400InvalidTokenOrInvalidInputResponse, wrong).code == "invalid_token"
        pair = email_verify.sync(client=self.anonymous, body=VerifyEmailRequest(uid, token, FIRST))
        assert expect(TokenPairResponse, pair).token_type == "Bearer"

    def profile(self) -> None:
        wrong = login.sync(client=self.anonymous, body=LoginRequest(ADA, SECOND))
        assert expect(Problem401InvalidCredentialsResponse, wrong).code == "invalid_credentials"
        ada = self.client_with(self.log_in().access)
        me = expect(ProfileResponse, me_get.sync(client=ada))
        assert (me.email, me.display_name, me.email_verified) == (ADA, "Ada", True)
        renamed = me_update.sync(client=ada, body=PatchedProfileRequest("Ada L."))
        assert expect(ProfileResponse, renamed).display_name == "Ada L."
        too_long = me_update.sync(client=ada, body=PatchedProfileRequest("A" * 101))
        assert expect(Problem400InvalidInputResponse, too_long).code == "invalid_input"

    def refresh(self) -> None:
        used = RefreshRequest(self.log_in().refresh)
        second = expect(TokenPairResponse, refresh.sync(client=self.anonymous, body=used))
        third = refresh.sync(client=self.anonymous, body=RefreshRequest(second.refresh))
        assert not self.is_invalid(expect(TokenPairResponse, third).access)
        reused = refresh.sync(client=self.anonymous, body=used)
        assert expect(Problem401InvalidTokenOrTokenReusedResponse, reused).code == "token_reused"
        assert self.is_invalid(second.access)

    def sessions(self) -> None:
        first, second = self.log_in(), self.log_in()
        page = expect(SessionListResponse, sessions_list.sync(client=self.client_with(first.access)))
        (current,) = (session.id for session in page.results if session.current)
        assert (page.next_, page.previous) == (None, None)
        assert sessions_delete.sync(current, client=self.client_with(second.access)) is None
        assert self.is_invalid(first.access)
        again = sessions_delete.sync(current, client=self.client_with(second.access))
        assert expect(Problem404NotFoundResponse, again).code == "not_found"

    def change_password(self) -> None:
        other, ada = self.log_in(), self.client_with(self.log_in().access)
        wrong = password_change.sync(client=ada, body=PasswordChangeRequest(THIRD, SECOND))
        assert expect(Problem403InvalidCredentialsResponse, wrong).code == "invalid_credentials"
        assert password_change.sync(client=ada, body=PasswordChangeRequest(FIRST, SECOND)) is None
        assert self.is_invalid(other.access)
        expect(ProfileResponse, me_get.sync(client=ada))

    def sign_out(self) -> None:
        pair, other = self.log_in(password=SECOND), self.log_in(password=SECOND)
        body = RefreshRequest(pair.refresh)
        assert logout.sync(client=self.client_with(pair.access), body=body) is None
        assert self.is_invalid(pair.access)
        malformed = logout.sync(client=self.client_with(pair.access), body=RefreshRequest("rubbish"))
        assert expect(Problem401InvalidTokenResponse, malformed).code == "invalid_token"
        assert logout_all.sync(client=self.client_with(other.access)) is None
        assert self.is_invalid(other.access)

    def reset_password(self) -> None:
        expect(DetailResponse, password_reset.sync(client=self.anonymous, body=EmailRequest(ADA)))
        body = PasswordResetConfirmRequest(*self.mailbox.link("reset"), THIRD)
        assert password_reset_confirm.sync(client=self.anonymous, body=body) is None
        again = password_reset_confirm.sync(client=self.anonymous, body=body)
        assert expect(Problem400InvalidTokenOrInvalidInputResponse, again).code == "invalid_token"

    def change_address(self) -> None:
        ada = self.client_with(self.log_in(password=THIRD).access)
        body = EmailChangeRequest(NEW_ADDRESS, THIRD)
        expect(DetailResponse, email_change.sync(client=ada, body=body))
        link = LinkRequest(*self.mailbox.link("email-change"))
        assert email_change_confirm.sync(client=self.anonymous, body=link) is None
        assert expect(ProfileResponse, me_get.sync(client=ada)).email == NEW_ADDRESS

    def end_users(self) -> None:
        ada = self.client_with(self.log_in(NEW_ADDRESS, THIRD).access)
        metadata = OpenEndUserSessionRequestMetadata.from_dict({"theme": "dark"})
        body = OpenEndUserSessionRequest(expect(ProfileResponse, me_get.sync(client=ada)).id, metadata)
        first, second = (
            expect(
                OpenEndUserSessionResponse, end_users_sessions_create.sync(client=self.anonymous, body=body)
            )
            for _ in range(2)
        )
        end_user = self.client_with(first.session)
        current = expect(EndUserSessionResponse, end_users_sessions_current_get.sync(client=end_user))
        assert (current.id, current.metadata["theme"]) == (first.session_id, "dark")
        page = expect(EndUserSessionListResponse, end_users_sessions_list.sync(client=ada))
        assert [session.id for session in page.results] == [second.session_id, first.session_id]
        assert end_users_sessions_current_delete.sync(client=end_user) is None
        assert end_users_sessions_delete.sync(second.session_id, client=ada) is None
        ended = end_users_sessions_current_get.sync(client=self.client_with(second.session))
        assert expect(Problem401InvalidTokenResponse, ended).code == "invalid_token"

    def introspect_and_revoke(self) -> None:
        token = TokenRequest(self.log_in(NEW_ADDRESS, THIRD).access)
        active = expect(IntrospectResponse, token_introspect.sync(client=self.resource_server, body=token))
        assert (active.active, active.token_type) == (True, "access")
        token_revoke.sync(client=self.resource_server, body=token)
        assert not expect(
            IntrospectResponse, token_introspect.sync(client=self.resource_server, body=token)
        ).active
        unauthenticated = token_introspect.sync(client=self.client_with("no key"), body=token)
        assert expect(Problem401InvalidTokenResponse, unauthenticated).code == "invalid_token"

    def export_and_delete(self) -> None:
        ada = self.client_with(self.log_in(NEW_ADDRESS, THIRD).access)
        events = expect(AuditEventListResponse, audit_events_list.sync(client=ada))
        assert "login.succeeded" in {event.type_ for event in events.results}
        export = expect(ExportResponse, me_export.sync(client=ada))
        assert export.profile.email == NEW_ADDRESS
        parts: list[Any] = [export, export.profile, *export.sessions, *export.end_user_sessions]
        assert not [part for part in parts if part.additional_properties], "not in the document"
        assert me_delete.sync(client=ada, body=PasswordRequest(THIRD)) is None
        assert self.is_invalid(ada.token)

    def lockout(self) -> None:
        responses = [login.sync(client=self.anonymous, body=LoginRequest(UNKNOWN, FIRST)) for _ in range(6)]
        assert [type(response) for response in responses[:5]] == [Problem401InvalidCredentialsResponse] * 5
        assert expect(Problem429AccountLockedOrRateLimitedResponse, responses[5]).code == "account_locked"


def main(url: str, mails: str, key: str) -> None:
    flow = Flow(url, Mailbox(Path(mails)), key)
    for step in (
        flow.infrastructure,
        flow.sign_up,
        flow.verify,
        flow.profile,
        flow.refresh,
        flow.sessions,
        flow.change_password,
        flow.sign_out,
        flow.reset_password,
        flow.change_address,
        flow.end_users,
        flow.introspect_and_revoke,
        flow.export_and_delete,
        flow.lockout,
    ):
        step()


if __name__ == "__main__":
    main(*sys.argv[1:])
