"""The walk: one method a check, in order; each leaves the cast as the next one wants it."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from django.conf import settings

from . import database, rate_limits
from .accounts import SmokeAccounts, change_links, reset_link, verification_link, wait_for_mail
from .client import Service, require, require_response

Check = tuple[str, Callable[[], object]]
PAGES = ("password-reset/", "password-reset/done/", "reset/done/", "verify-email/done/", "email-change/done/")
NOT_COMPARED = {"date", "x-request-id", "content-length"}


class SmokeTest:
    def __init__(self, service: Service, cast: SmokeAccounts) -> None:
        self.service, self.cast = service, cast
        self.call = service.call

    def checks(self) -> Iterator[Check]:
        service = self.service
        yield "the service is alive and ready", self.is_up
        yield "the application's role is bound by the walls", database.role_is_bound
        yield "tables, policies and grants are as declared", database.isolation_is_as_declared
        yield "no row crosses a wall", database.isolation_holds
        yield "a valid key signs, and is published", lambda: database.a_key_can_sign(service)
        yield "the audit book is sealed in time", database.audit_log_is_sealed
        yield "documentation and pages", self.documents
        yield "sign-up, and the mail for it", self.sign_up
        yield "confirmation needs the password of the sign-up", self.confirm
        yield "profile, export and audit events", self.profile
        yield "made-up and altered tokens are refused", self.altered_tokens
        yield "sessions are seen, ended, and another's is not found", self.sessions
        yield "a refresh token used twice ends its session", self.reuse
        yield "sign-out kills the access token too", self.sign_out
        yield "known and unknown addresses get equal answers", self.equal_answers
        yield "wrong passwords lock, and the right one too", self.lockout
        yield "password reset ends every session", self.reset
        yield "password change ends the other sessions", self.change_password
        yield "a change of address is confirmed, and can be undone", self.change_address
        yield "visitors have sessions of their own", self.visitors
        yield "resource servers introspect and revoke", self.resource_servers
        yield "metrics are told", self.metrics
        yield "a deleted account is gone", self.leave
        yield "every door has been tried", self.nothing_left_out
        yield "every door counts its callers", lambda: rate_limits.rate_limits_enforced(service)

    # --- the house ------------------------------------------------------------------------------

    def is_up(self) -> None:
        self.call("GET", "/healthz", expect=200)
        self.call("GET", "/readyz", expect=200)

    def documents(self) -> None:
        self.call("GET", "/api/docs/", expect=200)
        require(self._document()["openapi"].startswith("3.1"), "the document is not OpenAPI 3.1")
        for page in PAGES:
            self.call("GET", f"/account/{page}", expect=200)
        self.call("GET", "auth/me/", expect=404, code="not_found")

    def _document(self) -> Any:
        return self.call("GET", "/api/schema?format=json", expect=200)

    def metrics(self) -> None:
        answer = self.service.send("GET", "/metrics")
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # not from the machine itself
            answer = self.service.send("GET", "/metrics", token=self.key)
        require_response("GET /metrics", answer, 200)
        require("auth_requests_total" in answer.text, "GET /metrics: no requests are counted")

    def nothing_left_out(self) -> None:
        left_out = self.service.unvisited(self._document())
        require(not left_out, f"never tried: {', '.join(left_out)}")

    # --- getting in -----------------------------------------------------------------------------

    def sign_up(self) -> None:
        for person in (self.cast.ada, self.cast.bob):
            self._post("register", {"email": person.email, "password": person.password}, 202)
        wait_for_mail(self.cast.ada)
        weak = {"email": self.cast.stranger, "password": "short"}
        told = self.call("POST", "auth/register", weak, expect=400, code="invalid_input")
        require(told["errors"][0]["field"] == "password", "a weak password is not named")
        asked = {"password": self.cast.ada.password}
        verdict = self.call("POST", "auth/password/validate", asked, expect=200)
        require(verdict["is_valid"], "a good password is not found good")

    def confirm(self) -> None:
        for person in (self.cast.ada, self.cast.bob):
            link = verification_link(person)
            body = {"uid": link.uid, "token": link.token}
            self._post("email/verify", body | {"password": "of somebody else"}, 400, "invalid_token")
            person.pair = self._post("email/verify", body | {"password": person.password}, 200)

    def _post(self, path: str, body: Any, expect: int, code: str = "", **more: Any) -> Any:
        return self.call("POST", f"auth/{path}", body, expect=expect, code=code, **more)

    def _log_in(self) -> Any:
        ada = self.cast.ada
        return self._post("login", {"email": ada.email, "password": ada.password}, 200)

    # --- inside ---------------------------------------------------------------------------------

    def profile(self) -> None:
        token = self.cast.ada.access
        me = self.call("GET", "auth/me", expect=200, token=token)
        require(me["email"] == self.cast.ada.email, "GET auth/me tells of somebody else")
        named = self.call("PATCH", "auth/me", {"display_name": "Ada"}, expect=200, token=token)
        require(named["display_name"] == "Ada", "PATCH auth/me does not write")
        export = self.call("GET", "auth/me/export", expect=200, token=token)
        require(export["profile"]["email"] == self.cast.ada.email, "the export is of somebody else")
        events = self.call("GET", "audit/events", expect=200, token=token)["results"]
        types = {event["type"] for event in events}
        require({"email.verified", "login.succeeded"} <= types, "the audit events don't tell of the sign-in")

    def altered_tokens(self) -> None:
        header, claims, signature = self.cast.ada.access.split(".")
        none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
        other = self.cast.bob.access.split(".")[1]
        altered = [f"{none}.{claims}.", f"{header}.{other}.{signature}", "rubbish", self.cast.ada.refresh]
        for token in altered:
            self.call("GET", "auth/me", expect=401, code="invalid_token", token=token)

    def sessions(self) -> None:
        second = self._log_in()["access"]
        found = self.call("GET", "auth/sessions", expect=200, token=second)["results"]
        own = next((one["id"] for one in found if one["current"]), None)
        require(own and len(found) > 1, "GET auth/sessions does not list them")
        path = f"auth/sessions/{own}"
        self.call("DELETE", path, expect=404, code="not_found", token=self.cast.bob.access)
        self.call("DELETE", path, expect=204, token=self.cast.ada.access)
        self.call("GET", "auth/me", expect=401, token=second)

    def reuse(self) -> None:
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
        self._post("logout/all", None, 204, token=self.cast.ada.access)
        self.call("GET", "auth/me", expect=401, token=self.cast.ada.access)
        self.cast.ada.pair = self._log_in()

    # --- what strangers see ---------------------------------------------------------------------

    def equal_answers(self) -> None:
        doors = {
            "auth/register": {"password": self.cast.ada.password},
            "auth/login": {"password": "not the password"},
            "auth/password/reset": {},
            "auth/email/verify/resend": {},
        }
        for path, body in doors.items():
            known = self._seen(path, body | {"email": self.cast.ada.email})
            unknown = self._seen(path, body | {"email": self.cast.stranger})
            require(known == unknown, f"{path} answers otherwise for a known address")

    def _seen(self, path: str, body: Any) -> Any:
        answer = self.service.send_with_retry("POST", path, body)
        told = {name: value for name, value in answer.json().items() if name != "request_id"}
        return answer.status_code, told, set(answer.headers) - NOT_COMPARED

    def lockout(self) -> None:
        ada = self.cast.ada
        wrong = {"email": ada.email, "password": "not the password"}
        for _ in range(settings.MAX_FAILED_LOGIN_ATTEMPTS - 1):  # one was wrong before
            self._post("login", wrong, 401, "invalid_credentials")
        self._post("login", wrong | {"email": ada.email.upper()}, 429, "account_locked")
        self._post("login", {"email": ada.email, "password": ada.password}, 429, "account_locked")

    def reset(self) -> None:
        ada, link = self.cast.ada, reset_link(self.cast.ada)
        new = f"another {ada.password}"
        body = {"uid": link.uid, "token": link.token}
        self._post("password/reset/confirm", body | {"new_password": "short"}, 400, "invalid_input")
        self._post("password/reset/confirm", body | {"new_password": new}, 204)
        self._post("password/reset/confirm", body | {"new_password": new}, 400, "invalid_token")
        self.call("GET", "auth/me", expect=401, token=ada.access)
        ada.password = new
        ada.pair = self._log_in()  # the lock is lifted, too

    def change_password(self) -> None:
        ada, other = self.cast.ada, self._log_in()
        new = f"one more {ada.password}"
        body = {"current_password": ada.password, "new_password": new}
        wrong = body | {"current_password": "not the password"}
        self._post("password/change", wrong, 403, "invalid_credentials", token=ada.access)
        self._post("password/change", body, 204, token=ada.access)
        self.call("GET", "auth/me", expect=401, token=other["access"])
        self.call("GET", "auth/me", expect=200, token=ada.access)
        ada.password = new

    def change_address(self) -> None:
        ada = self.cast.ada
        body = {"new_email": self.cast.new_address, "password": ada.password}
        self._post("email/change", body, 202, token=ada.access)
        confirm, undo = change_links(ada)
        self._post("email/change/confirm", {"uid": confirm.uid, "token": confirm.token}, 204)
        ada.email = self.cast.new_address
        me = self.call("GET", "auth/me", expect=200, token=ada.access)
        require(me["email"] == ada.email, "the confirmed address is not the account's")
        self.call("GET", f"/account/email-change/undo/{undo.uid}/{undo.token}/", expect=200)

    # --- others ---------------------------------------------------------------------------------

    def visitors(self) -> None:
        ada = self.cast.ada
        creator = str(ada.row().pk)
        opened = self.call("POST", "end-users/sessions", {"creator": creator}, expect=201)
        current = "end-users/sessions/current"
        self.call("GET", current, expect=200, token=opened["session"])
        self.call("GET", "auth/me", expect=401, token=opened["session"])
        self.call("GET", current, expect=401, token=ada.access)
        listed = self.call("GET", "end-users/sessions", expect=200, token=ada.access)["results"]
        require([one["id"] for one in listed] == [opened["session_id"]], "the visitor is not listed")
        own = f"end-users/sessions/{opened['session_id']}"
        self.call("DELETE", own, expect=404, token=self.cast.bob.access)
        self.call("DELETE", own, expect=204, token=ada.access)
        self.call("GET", current, expect=401, token=opened["session"])
        again = self.call("POST", "end-users/sessions", {"creator": creator}, expect=201)
        self.call("DELETE", current, expect=204, token=again["session"])

    def resource_servers(self) -> None:
        self.key = self.cast.make_key()
        victim = self._log_in()["access"]
        require(self._introspected(victim)["active"], "a live token is not active")
        require(self._introspected("rubbish") == {"active": False}, "rubbish is more than not active")
        path = "/api/v1/auth/token/revoke"
        answer = self.service.send("POST", path, token=self.key, data={"token": victim})
        require_response(f"POST {path}", answer, 200)
        require(not self._introspected(victim)["active"], "a revoked token is active")
        self.call("GET", "auth/me", expect=401, token=victim)
        self._post("token/introspect", None, 401, "invalid_token", token=victim)

    def _introspected(self, token: str) -> Any:
        answer = self.service.send("POST", "auth/token/introspect", token=self.key, data={"token": token})
        require_response("POST auth/token/introspect", answer, 200)
        return answer.json()

    def leave(self) -> None:
        for person in (self.cast.ada, self.cast.bob):
            wrong, right = {"password": "not the password"}, {"password": person.password}
            self._post("me/delete", wrong, 403, "invalid_credentials", token=person.access)
            self._post("me/delete", right, 204, token=person.access)
            self.call("GET", "auth/me", expect=401, token=person.access)
