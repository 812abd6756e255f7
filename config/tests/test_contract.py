"""The public contract, row by row: a caller, a body and the expected response."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.core import mail

from accounts.mail.links import issue_reset_link, issue_verification_link
from accounts.models import Creator
from accounts.services.api_keys import create_api_key
from accounts.tests.support.flows import link_in
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.live_server import run_server
from config.tests.support.urls import endpoint_names
from tenancy.context import OPERATOR, using_alias

ADA, BOB, ZOE, NOBODY = "ada@example.com", "bob@example.com", "zoe@example.com", "nobody@example.com"
WRONG, NEW = "not the password of anybody", "nine kites over a windy meadow"
UNKNOWN = "0199d3a5-6f4e-7c3a-9b51-2f0d8c7e4a10"

DETAIL, PAGE = {"detail"}, {"next", "previous", "results"}
PAIR = {"access", "refresh", "token_type", "expires_in", "refresh_expires_in"}
PROFILE = {"id", "email", "display_name", "email_verified", "created_at", "last_login_at"}
SESSION = {"id", "created_at", "last_used_at", "ip_address", "user_agent", "device", "current"}
END_USER = {"id", "creator", "created_at", "expires_at", "metadata"}
OPENED = {"session", "session_id", "expires_at"}
EVENT = {"id", "at", "type", "summary", "ip_address", "user_agent", "request_id", "detail"}
EXPORT = {
    "profile", "sessions", "end_user_sessions", "email_changes", "security_notices", "audit_events", "address_events"
}  # fmt: skip
LIVE = {"active", "sub", "sid", "exp", "iat", "jti", "token_type", "iss", "aud"}
PROBLEM = {"type", "title", "status", "detail", "code", "request_id"}
PASSWORD_ROWS: list[Any] = [
    ("ada", {"password": WRONG}, 403, "invalid_credentials"),
    ("ada", {"password": PASSWORD}, 429, "account_locked", "locked"),
    ("ada", {}, 400, "invalid_input"),
    ("", {"password": PASSWORD}, 401, "invalid_token"),
]

# call → rows of (bearer, body, status, members of the response or `code`, more preconditions);
# a bearer, {words} and preconditions are attributes of the World below
CONTRACT: dict[str, list[Any]] = {
    "POST /api/v1/auth/register": [
        ("", {"email": ZOE, "password": NEW, "display_name": "Zoe"}, 202, DETAIL),
        ("", {"email": ADA, "password": NEW}, 202, DETAIL),
        ("", {"email": ZOE, "password": "short"}, 400, "invalid_input password"),
        ("", {"email": "zoe@", "password": NEW}, 400, "invalid_input email"),
    ],
    "POST /api/v1/auth/email/verify": [
        ("", {"uid": "{zoe.uid}", "token": "{zoe.token}", "password": PASSWORD}, 200, PAIR),
        ("", {"uid": "{zoe.uid}", "token": "{zoe.token}", "password": WRONG}, 400, "invalid_token"),
        ("", {"uid": "{zoe.uid}", "token": "rubbish", "password": PASSWORD}, 400, "invalid_token"),
    ],
    "POST /api/v1/auth/email/verify/resend": [
        ("", {"email": ZOE}, 202, DETAIL, "zoe"),
        ("", {"email": NOBODY}, 202, DETAIL),
    ],
    "POST /api/v1/auth/login": [
        ("", {"email": ADA, "password": PASSWORD}, 200, PAIR),
        ("", {"email": ADA, "password": WRONG}, 401, "invalid_credentials"),
        ("", {"email": NOBODY, "password": PASSWORD}, 401, "invalid_credentials"),
        ("", {"email": ZOE, "password": PASSWORD}, 401, "invalid_credentials", "zoe"),
        ("", {"email": ADA, "password": PASSWORD}, 401, "invalid_credentials", "deactivated"),
        ("", {"email": ADA, "password": PASSWORD}, 401, "invalid_credentials", "staff"),
        ("", {"email": ADA, "password": PASSWORD}, 429, "account_locked", "locked"),
    ],
    "POST /api/v1/auth/refresh": [
        ("", {"refresh": "{refresh}"}, 200, PAIR),
        ("", {"refresh": "{ada}"}, 401, "invalid_token"),
        ("", {"refresh": "{used}"}, 401, "token_reused"),
        ("", {"refresh": "{refresh}"}, 401, "invalid_token", "deactivated"),
    ],
    "POST /api/v1/auth/logout": [
        ("", {"refresh": "{refresh}"}, 204, None),
        ("ada", {"refresh": "{refresh}"}, 204, None),
        ("rubbish", {"refresh": "{refresh}"}, 204, None),
        ("ada", {"refresh": "{refresh}"}, 204, None, "signed_out"),
        ("", {"refresh": "rubbish"}, 401, "invalid_token"),
        ("bob", {"refresh": "{refresh}"}, 401, "invalid_token"),
    ],
    "POST /api/v1/auth/logout/all": [
        ("ada", None, 204, None),
        ("", None, 401, "invalid_token"),
        ("ada", None, 401, "invalid_token", "signed_out"),
    ],
    "GET /api/v1/auth/sessions": [
        ("ada", None, 200, [SESSION]),
        ("", None, 401, "invalid_token"),
    ],
    "DELETE /api/v1/auth/sessions/{session_id}": [
        ("ada", None, 204, None),
        ("bob", None, 404, "not_found"),
        ("", None, 401, "invalid_token"),
    ],
    "GET /api/v1/auth/me": [
        ("ada", None, 200, PROFILE),
        ("", None, 401, "invalid_token"),
        ("{refresh}", None, 401, "invalid_token"),
        ("ada", None, 401, "invalid_token", "deactivated"),
    ],
    "PATCH /api/v1/auth/me": [
        ("ada", {"display_name": "Ada L.", "email": BOB, "is_staff": True}, 200, PROFILE),
        ("ada", {"display_name": "A" * 101}, 400, "invalid_input display_name"),
        ("", {"display_name": "Ada L."}, 401, "invalid_token"),
    ],
    "POST /api/v1/auth/me/delete": [("ada", {"password": PASSWORD}, 204, None), *PASSWORD_ROWS],
    "GET /api/v1/auth/me/export": [
        ("ada", None, 200, EXPORT),
        ("", None, 401, "invalid_token"),
    ],
    "POST /api/v1/auth/password/change": [
        ("ada", {"current_password": PASSWORD, "new_password": NEW}, 204, None),
        ("ada", {"current_password": WRONG, "new_password": NEW}, 403, "invalid_credentials"),
        ("ada", {"current_password": PASSWORD, "new_password": "short"}, 400, "invalid_input new_password"),
        ("ada", {"current_password": PASSWORD, "new_password": NEW}, 429, "account_locked", "locked"),
        ("", {"current_password": PASSWORD, "new_password": NEW}, 401, "invalid_token"),
    ],
    "POST /api/v1/auth/password/validate": [
        ("", {"password": NEW}, 200, {"is_valid", "suggestions"}),
        ("", {"password": "short", "email": ADA}, 200, {"is_valid", "suggestions"}),
    ],
    "POST /api/v1/auth/password/reset": [
        ("", {"email": ADA}, 202, DETAIL),
        ("", {"email": NOBODY}, 202, DETAIL),
    ],
    "POST /api/v1/auth/password/reset/confirm": [
        ("", {"uid": "{reset.uid}", "token": "{reset.token}", "new_password": NEW}, 204, None),
        ("", {"uid": "{reset.uid}", "token": "rubbish", "new_password": NEW}, 400, "invalid_token"),
        (
            "",
            {"uid": "{reset.uid}", "token": "{reset.token}", "new_password": "short"},
            400,
            "invalid_input new_password",
        ),
    ],
    "POST /api/v1/auth/email/change": [
        ("ada", {"new_email": ZOE, "password": PASSWORD}, 202, DETAIL),
        *[(who, body | {"new_email": ZOE}, *rest) for who, body, *rest in PASSWORD_ROWS],
    ],
    "POST /api/v1/auth/email/change/confirm": [
        ("", {"uid": "{change[0]}", "token": "{change[1]}"}, 204, None),
        ("", {"uid": "{change[0]}", "token": "rubbish"}, 400, "invalid_token"),
    ],
    "POST /api/v1/auth/token/introspect": [
        ("key", {"token": "{ada}"}, 200, LIVE),
        ("key", {"token": "rubbish"}, 200, {"active"}),
        ("ada", {"token": "{ada}"}, 401, "invalid_token"),
        ("", {"token": "{ada}"}, 401, "invalid_token"),
    ],
    "POST /api/v1/auth/token/revoke": [
        ("key", {"token": "{ada}"}, 200, set()),
        ("key", {"token": "rubbish"}, 200, set()),
        ("ada", {"token": "{ada}"}, 401, "invalid_token"),
    ],
    "POST /api/v1/end-users/sessions": [
        ("", {"creator": "{ada_id}", "metadata": {"theme": "dark"}}, 201, OPENED),
        ("", {"creator": UNKNOWN}, 404, "not_found"),
        ("", {"creator": "{ada_id}"}, 404, "not_found", "deactivated"),
        ("", {"creator": "{ada_id}", "metadata": {"a": "b" * 4096}}, 400, "invalid_input metadata"),
    ],
    "GET /api/v1/end-users/sessions/current": [
        ("end_user", None, 200, END_USER),
        ("ada", None, 401, "invalid_token"),
        ("end_user", None, 401, "invalid_token", "deactivated"),
    ],
    "DELETE /api/v1/end-users/sessions/current": [
        ("end_user", None, 204, None),
        ("", None, 401, "invalid_token"),
    ],
    "GET /api/v1/end-users/sessions": [
        ("ada", None, 200, [END_USER], "end_user"),
        ("end_user", None, 401, "invalid_token"),
    ],
    "DELETE /api/v1/end-users/sessions/{end_user_id}": [
        ("ada", None, 204, None),
        ("bob", None, 404, "not_found"),
        ("end_user", None, 401, "invalid_token"),
    ],
    "GET /api/v1/audit/events": [
        ("ada", None, 200, [EVENT], "locked"),
        ("", None, 401, "invalid_token"),
    ],
    "GET /.well-known/jwks.json": [("", None, 200, {"keys"})],
    "GET /.well-known/change-password": [("", None, 302, "text/html")],
    "GET /healthz": [("", None, 200, {"status"})],
    "GET /readyz": [("", None, 200, {"status"})],
    "GET /metrics": [
        ("", None, 200, "text/plain"),
        ("key", None, 200, "text/plain", "proxied"),
        ("", None, 401, "invalid_token", "proxied"),
    ],
    "GET /api/schema": [("", None, 200, "application/vnd.oai.openapi")],
    "GET /api/docs/": [("", None, 200, "text/html")],
}
ROWS = [(call, row) for call, rows in CONTRACT.items() for row in rows]


class World:
    """The preconditions of the rows by name; each is made when it is first needed."""

    def __init__(self, api: API, superuser: psycopg.Connection, run_jobs: Any) -> None:
        self.api, self.superuser, self.run_jobs = api, superuser, run_jobs
        self.person = sign_in(make_creator(ADA, display_name="Ada"))
        self.values: dict[str, Any] = {"rubbish": "rubbish"}
        self.headers: dict[str, str] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            self.values[name] = getattr(self, f"_{name}")()
        return self.values[name]

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(inner) for name, inner in value.items()}
        return value.format_map(self) if isinstance(value, str) else value

    def _ada(self) -> str:
        return self.person.access

    def _ada_id(self) -> str:
        return str(self.person.id)

    def _refresh(self) -> str:
        return self.person.refresh

    def _used(self) -> str:
        """Its successor is used as well, so this is not a retry within the grace period."""
        second = self.api.post("refresh", {"refresh": self.person.refresh}).json()
        assert self.api.post("refresh", {"refresh": second["refresh"]}).status_code == 200
        return self.person.refresh

    def _session_id(self) -> str:
        return str(self.api.get("sessions", token=self.person.access).json()["results"][0]["id"])

    def _bob(self) -> str:
        return sign_in(make_creator(BOB)).access

    def _zoe(self) -> Any:
        """Zoe has signed up, but not confirmed; returns her link."""
        return self._link(
            issue_verification_link, make_creator(ZOE, holds_email=False, email_verified_at=None)
        )

    def _reset(self) -> Any:
        return self._link(issue_reset_link, self.person)

    def _link(self, issue: Any, person: Person) -> Any:
        with using_alias(OPERATOR):
            return issue(Creator.objects.get(pk=person.id))

    def _change(self) -> tuple[str, str]:
        self.api.post("email/change", {"new_email": ZOE, "password": PASSWORD}, token=self.person.access)
        self.run_jobs()
        return link_in(next(message for message in mail.outbox if message.to == [ZOE]))

    def _key(self) -> str:
        with using_alias(OPERATOR):
            return str(create_api_key("the shop"))

    def _opened(self) -> Any:
        return self.api.post("/api/v1/end-users/sessions", {"creator": str(self.person.id)}).json()

    def _end_user(self) -> str:
        return str(self["opened"]["session"])

    def _end_user_id(self) -> str:
        return str(self["opened"]["session_id"])

    def _locked(self) -> None:
        for _ in range(5):
            self.api.post("login", {"email": ADA, "password": WRONG})

    def _deactivated(self) -> None:
        self["opened"]  # opened before the deactivation
        self.superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [self.person.id])

    def _staff(self) -> None:
        self.superuser.execute("UPDATE creators SET is_staff = true WHERE id = %s", [self.person.id])

    def _signed_out(self) -> None:
        self.api.post("logout", {"refresh": self.person.refresh}, token=self.person.access)

    def _proxied(self) -> None:
        self.headers["X-Forwarded-For"] = "203.0.113.7"


@pytest.fixture
def world(api: API, superuser: psycopg.Connection, run_jobs: Any, settings: Any) -> World:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    return World(api, superuser, run_jobs)


def test_every_endpoint_has_rows() -> None:
    served = {
        re.sub(r"<.*?>", "{}", name).replace(" ", " /")
        for name in endpoint_names()
        if " account/" not in name
    }
    assert {re.sub(r"{.*?}", "{}", call) for call in CONTRACT} == served


def send(world: World, call: str, who: str, body: Any) -> Any:
    method, path = world.fill(call).split(" ")
    bearer = world.fill(who) if "{" in who else who and world[who]
    headers = world.headers | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = world.fill(body)
    if "/token/" in path:
        form = "application/x-www-form-urlencoded"
        return world.api.generic(method, path, urlencode(data), content_type=form, headers=headers)
    return world.api.call(method, path, data, **headers)


@pytest.mark.slow
def test_admin_is_served_only_with_the_operator_url(api: API, tmp_path: Path) -> None:
    assert api.get("/admin/").status_code == 302
    with run_server(tmp_path, workers=1, OPERATOR_DATABASE_URL="") as served:
        assert [served.call("GET", path).status for path in ("/admin/", "/admin/login/")] == [404, 404]


@pytest.mark.parametrize(
    ("call", "row"), ROWS, ids=[f"{call} {row[0]} {row[2]} {row[4:]}" for call, row in ROWS]
)
def test_response_is_as_in_the_contract(world: World, call: str, row: Any) -> None:
    who, body, status, expected, *preconditions = row
    for name in [who, *preconditions]:  # the caller signs in before anything ends the session
        if name and "{" not in name:
            world[name]
    response = send(world, call, who, body)
    assert response.status_code == status, response.content
    assert response["X-Request-ID"]
    assert response.get("Cache-Control") == "no-store" or "/api/v" not in call
    if isinstance(expected, str):
        assert_code_or_type(response, expected)
    elif isinstance(expected, list):
        page = response.json()
        assert page.keys() == PAGE
        assert {frozenset(item) for item in page["results"]} == {frozenset(expected[0])}
    else:
        assert (response.json().keys() if response.content else None) == expected


def assert_code_or_type(response: Any, expected: str) -> None:
    """`expected` is the code of a problem and its fields; for a success, the content type."""
    if response.status_code < 400:
        assert response["Content-Type"].startswith(expected)
        return
    problem, (code, *fields) = response.json(), expected.split()
    assert response["Content-Type"] == "application/problem+json"
    assert problem.keys() - {"errors"} == PROBLEM
    assert (problem["status"], problem["code"]) == (response.status_code, code)
    assert problem["request_id"] == response["X-Request-ID"]
    assert not fields or {error["field"] for error in problem["errors"]} == set(fields)
    assert all(error.keys() == {"field", "code", "detail"} for error in problem.get("errors", []))
    if response.status_code == 401:
        assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    if response.status_code in {429, 503}:
        assert int(response["Retry-After"]) >= 1
