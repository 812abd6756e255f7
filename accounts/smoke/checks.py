"""The checks of the smoke test, in order. Each depends on the state that the earlier ones leave."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from django.conf import settings

from . import database, rate_limits
from .accounts import SmokeAccounts, change_links, reset_link, verification_link, wait_for_mail
from .client import Client, require, require_response

Check = tuple[str, Callable[[], object]]
PAGES = ("password-reset/", "password-reset/done/", "reset/done/", "verify-email/done/", "email-change/done/")
VARYING_HEADERS = {"date", "x-request-id", "content-length"}


class SmokeTest:
    def __init__(self, client: Client, accounts: SmokeAccounts) -> None:
        self.client, self.accounts = client, accounts
        self.call = client.call

    def checks(self) -> Iterator[Check]:
        yield "the service is alive and ready", self.health
        yield "the app role cannot bypass RLS", database.check_role
        yield "tables, policies and grants are as declared", database.check_declarations
        yield "tenants are isolated", database.check_tenant_isolation
        yield "the signing key is valid and published", lambda: database.check_signing_key(self.client)
        yield "the audit log is sealed", database.check_audit_log_is_sealed
        yield "documentation and pages", self.documentation
        yield "sign-up and its email", self.sign_up
        yield "email verification needs the password", self.verify_email
        yield "profile, export and audit events", self.profile
        yield "forged tokens are refused", self.forged_tokens
        yield "sessions are listed and ended, by their owner only", self.sessions
        yield "reuse of a refresh token ends its session", self.refresh_reuse
        yield "sign-out revokes the access token", self.sign_out
        yield "responses do not reveal which addresses exist", self.enumeration
        yield "wrong passwords lock the account", self.lockout
        yield "password reset ends all sessions", self.reset_password
        yield "password change ends the other sessions", self.change_password
        yield "change of address and its undo page", self.change_address
        yield "sessions of end users", self.end_users
        yield "resource servers introspect and revoke", self.resource_servers
        yield "metrics are exposed", self.metrics
        yield "account deletion", self.delete_accounts
        yield "rate limits are enforced", lambda: rate_limits.check_rate_limits(self.client)
        yield "every endpoint was called", self.completeness

    # --- infrastructure -------------------------------------------------------------------------

    def health(self) -> None:
        self.call("GET", "/healthz", expect=200)
        self.call("GET", "/readyz", expect=200)

    def documentation(self) -> None:
        self.call("GET", "/api/docs/", expect=200)
        require(self._document()["openapi"].startswith("3.1"), "the document is not OpenAPI 3.1")
        for page in PAGES:
            self.call("GET", f"/account/{page}", expect=200)
        self.call("GET", "auth/me/", expect=404, code="not_found")

    def _document(self) -> Any:
        return self.call("GET", "/api/schema?format=json", expect=200)

    def metrics(self) -> None:
        response = self.client.send("GET", "/metrics")
        if response.status_code == httpx.codes.UNAUTHORIZED:  # not from loopback
            response = self.client.send("GET", "/metrics", token=self.key)
        require_response("GET /metrics", response, 200)
        require("auth_requests_total" in response.text, "GET /metrics: no requests are counted")

    def completeness(self) -> None:
        unvisited = self.client.unvisited(self._document())
        require(not unvisited, f"not called: {', '.join(unvisited)}")

    # --- sign-up and sign-in --------------------------------------------------------------------

    def sign_up(self) -> None:
        for account in (self.accounts.ada, self.accounts.bob):
            self._post("register", {"email": account.email, "password": account.password}, 202)
        wait_for_mail(self.accounts.ada)
        weak = {"email": self.accounts.unknown_email, "password": "short"}
        problem = self._post("register", weak, 400, "invalid_input")
        require(problem["errors"][0]["field"] == "password", "the error does not name the password")
        validation = self._post("password/validate", {"password": self.accounts.ada.password}, 200)
        require(validation["is_valid"], "a strong password is not valid")

    def verify_email(self) -> None:
        for account in (self.accounts.ada, self.accounts.bob):
            link = verification_link(account)
            body = {"uid": link.uid, "token": link.token}
            self._post("email/verify", body | {"password": "not the password"}, 400, "invalid_token")
            account.pair = self._post("email/verify", body | {"password": account.password}, 200)

    def _post(self, path: str, body: Any, expect: int, code: str = "", **options: Any) -> Any:
        return self.call("POST", f"auth/{path}", body, expect=expect, code=code, **options)

    def _log_in(self) -> Any:
        ada = self.accounts.ada
        return self._post("login", {"email": ada.email, "password": ada.password}, 200)

    # --- profile, tokens and sessions -----------------------------------------------------------

    def profile(self) -> None:
        token = self.accounts.ada.access
        me = self.call("GET", "auth/me", expect=200, token=token)
        require(me["email"] == self.accounts.ada.email, "GET auth/me returns another account")
        renamed = self.call("PATCH", "auth/me", {"display_name": "Ada"}, expect=200, token=token)
        require(renamed["display_name"] == "Ada", "PATCH auth/me does not save the name")
        export = self.call("GET", "auth/me/export", expect=200, token=token)
        require(export["profile"]["email"] == self.accounts.ada.email, "the export is of another account")
        events = self.call("GET", "audit/events", expect=200, token=token)["results"]
        types = {event["type"] for event in events}
        require({"email.verified", "login.succeeded"} <= types, "the sign-in is not in the audit log")

    def forged_tokens(self) -> None:
        header, claims, signature = self.accounts.ada.access.split(".")
        none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
        bobs_claims = self.accounts.bob.access.split(".")[1]
        forged = [f"{none}.{claims}.", f"{header}.{bobs_claims}.{signature}", "rubbish"]
        for token in [*forged, self.accounts.ada.refresh]:
            self.call("GET", "auth/me", expect=401, code="invalid_token", token=token)

    def sessions(self) -> None:
        second = self._log_in()["access"]
        sessions = self.call("GET", "auth/sessions", expect=200, token=second)["results"]
        current = next((session["id"] for session in sessions if session["current"]), None)
        require(current and len(sessions) > 1, "GET auth/sessions does not list all sessions")
        path = f"auth/sessions/{current}"
        self.call("DELETE", path, expect=404, code="not_found", token=self.accounts.bob.access)
        self.call("DELETE", path, expect=204, token=self.accounts.ada.access)
        self.call("GET", "auth/me", expect=401, token=second)

    def refresh_reuse(self) -> None:
        first = self._log_in()
        second = self._post("refresh", {"refresh": first["refresh"]}, 200)
        third = self._post("refresh", {"refresh": second["refresh"]}, 200)
        self._post("refresh", {"refresh": first["refresh"]}, 401, "token_reused")
        self._post("refresh", {"refresh": third["refresh"]}, 401, "invalid_token")
        self.call("GET", "auth/me", expect=401, token=third["access"])

    def sign_out(self) -> None:
        pair = self._log_in()
        self._post("logout", {"refresh": pair["refresh"]}, 204, token=pair["access"])
        self.call("GET", "auth/me", expect=401, token=pair["access"])
        self._post("logout", {"refresh": pair["refresh"]}, 204)
        self._post("logout/all", None, 204, token=self.accounts.ada.access)
        self.call("GET", "auth/me", expect=401, token=self.accounts.ada.access)
        self.accounts.ada.pair = self._log_in()

    # --- attacks and recovery -------------------------------------------------------------------

    def enumeration(self) -> None:
        bodies: dict[str, dict[str, str]] = {
            "auth/register": {"password": self.accounts.ada.password},
            "auth/login": {"password": "not the password"},
            "auth/password/reset": {},
            "auth/email/verify/resend": {},
        }
        for path, body in bodies.items():
            known = self._comparable(path, body | {"email": self.accounts.ada.email})
            unknown = self._comparable(path, body | {"email": self.accounts.unknown_email})
            require(known == unknown, f"{path} responds differently to a known address")

    def _comparable(self, path: str, body: Any) -> Any:
        response = self.client.send_with_retry("POST", path, body)
        members = {name: value for name, value in response.json().items() if name != "request_id"}
        return response.status_code, members, set(response.headers) - VARYING_HEADERS

    def lockout(self) -> None:
        ada = self.accounts.ada
        wrong = {"email": ada.email, "password": "not the password"}
        for _ in range(settings.MAX_FAILED_LOGIN_ATTEMPTS - 1):  # `enumeration` made one failed attempt
            self._post("login", wrong, 401, "invalid_credentials")
        self._post("login", wrong | {"email": ada.email.upper()}, 429, "account_locked")
        self._post("login", {"email": ada.email, "password": ada.password}, 429, "account_locked")

    def reset_password(self) -> None:
        ada, link = self.accounts.ada, reset_link(self.accounts.ada)
        new = f"another {ada.password}"
        body = {"uid": link.uid, "token": link.token}
        self._post("password/reset/confirm", body | {"new_password": "short"}, 400, "invalid_input")
        self._post("password/reset/confirm", body | {"new_password": new}, 204)
        self._post("password/reset/confirm", body | {"new_password": new}, 400, "invalid_token")
        self.call("GET", "auth/me", expect=401, token=ada.access)
        ada.password = new
        ada.pair = self._log_in()  # the reset unlocks the account

    def change_password(self) -> None:
        ada, other = self.accounts.ada, self._log_in()
        new = f"one more {ada.password}"
        body = {"current_password": ada.password, "new_password": new}
        wrong = body | {"current_password": "not the password"}
        self._post("password/change", wrong, 403, "invalid_credentials", token=ada.access)
        self._post("password/change", body, 204, token=ada.access)
        self.call("GET", "auth/me", expect=401, token=other["access"])
        self.call("GET", "auth/me", expect=200, token=ada.access)
        ada.password = new

    def change_address(self) -> None:
        ada = self.accounts.ada
        body = {"new_email": self.accounts.new_email, "password": ada.password}
        self._post("email/change", body, 202, token=ada.access)
        confirm, undo = change_links(ada)
        self._post("email/change/confirm", {"uid": confirm.uid, "token": confirm.token}, 204)
        ada.email = self.accounts.new_email
        me = self.call("GET", "auth/me", expect=200, token=ada.access)
        require(me["email"] == ada.email, "the confirmed address is not the account's")
        self.call("GET", f"/account/email-change/undo/{undo.uid}/{undo.token}/", expect=200)

    # --- end users, resource servers, deletion --------------------------------------------------

    def end_users(self) -> None:
        ada = self.accounts.ada
        creator = str(ada.creator().pk)
        opened = self.call("POST", "end-users/sessions", {"creator": creator}, expect=201)
        current = "end-users/sessions/current"
        self.call("GET", current, expect=200, token=opened["session"])
        self.call("GET", "auth/me", expect=401, token=opened["session"])
        self.call("GET", current, expect=401, token=ada.access)
        listed = self.call("GET", "end-users/sessions", expect=200, token=ada.access)["results"]
        require([session["id"] for session in listed] == [opened["session_id"]], "the session is not listed")
        path = f"end-users/sessions/{opened['session_id']}"
        self.call("DELETE", path, expect=404, token=self.accounts.bob.access)
        self.call("DELETE", path, expect=204, token=ada.access)
        self.call("GET", current, expect=401, token=opened["session"])
        second = self.call("POST", "end-users/sessions", {"creator": creator}, expect=201)
        self.call("DELETE", current, expect=204, token=second["session"])

    def resource_servers(self) -> None:
        self.key = self.accounts.create_api_key()
        token = self._log_in()["access"]
        require(self._introspect(token)["active"], "a valid token is not active")
        require(self._introspect("rubbish") == {"active": False}, "an invalid token is active")
        path = "/api/v1/auth/token/revoke"
        response = self.client.send("POST", path, token=self.key, data={"token": token})
        require_response(f"POST {path}", response, 200)
        require(not self._introspect(token)["active"], "a revoked token is active")
        self.call("GET", "auth/me", expect=401, token=token)
        self._post("token/introspect", None, 401, "invalid_token", token=token)

    def _introspect(self, token: str) -> Any:
        response = self.client.send("POST", "auth/token/introspect", token=self.key, data={"token": token})
        require_response("POST auth/token/introspect", response, 200)
        return response.json()

    def delete_accounts(self) -> None:
        for account in (self.accounts.ada, self.accounts.bob):
            wrong, right = {"password": "not the password"}, {"password": account.password}
            self._post("me/delete", wrong, 403, "invalid_credentials", token=account.access)
            self._post("me/delete", right, 204, token=account.access)
            self.call("GET", "auth/me", expect=401, token=account.access)
