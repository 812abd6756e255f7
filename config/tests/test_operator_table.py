"""Permissions of the admin: every page and action for every kind of caller. A missing row fails a test.

A row is `METHOD route`, or `METHOD route argument`: `POST accounts_creator_action deactivate`.
An action of a changelist is `ACTION changelist.action`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Creator
from accounts.services.operators import justification
from accounts.services.operators.support import SUPPORT_ACTIONS
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.operators import give_password, make_operator, reauthenticate, sign_in_operator
from tenancy.context import OPERATOR, using_alias

GO = "go"  # allowed
REAUTH = "step"  # allowed after reauthentication
NO = "no"  # forbidden or not found
IN = "in"  # redirected to the sign-in
CODE = "code"  # redirected to the second factor
CALLERS = ("support", "security", "superuser", "creator", "anonymous", "no second factor", "no code yet")
Row = tuple[str, ...]


def of(support: str, security: str, superuser: str) -> Row:
    """A row that redirects everyone but operators to the sign-in or to the second factor."""
    return (support, security, superuser, IN, IN, CODE, CODE)


ALL, SUPERUSERS, NOBODY = of(GO, GO, GO), of(NO, NO, GO), of(NO, NO, NO)
SECURITY, SECURITY_REAUTH, SUPERUSERS_REAUTH = of(NO, GO, GO), of(NO, REAUTH, REAUTH), of(NO, NO, REAUTH)

TABLE: dict[str, Row] = {
    "GET login": (GO, GO, GO, GO, GO, CODE, CODE),
    "GET reauthenticate": ALL,
    "GET second_factor": (GO, GO, GO, IN, IN, CODE, GO),
    "GET second_factor_set_up": (REAUTH, REAUTH, REAUTH, IN, IN, GO, CODE),
    "POST recovery_codes": of(REAUTH, REAUTH, REAUTH),
    "GET index": ALL,
    "GET password_change": ALL,
    "GET password_change_done": ALL,
    "GET autocomplete": NOBODY,
    "GET jsi18n": ALL,
    "GET app_list accounts": ALL,
    "GET app_list axes": ALL,
    "GET app_list audit": SECURITY,
    "GET catch_all": NOBODY,
    "GET accounts_creator_changelist": ALL,
    "GET accounts_creator_change": ALL,
    "POST accounts_creator_change": ALL,  # gives the justification
    "POST accounts_creator_action unlock": ALL,
    "POST accounts_creator_action end_sessions": ALL,
    "POST accounts_creator_action send_reset": ALL,
    "POST accounts_creator_action mark_verified": SECURITY_REAUTH,
    "POST accounts_creator_action deactivate": SECURITY_REAUTH,
    "POST accounts_creator_action reactivate": SECURITY_REAUTH,
    "POST accounts_creator_action delete": SUPERUSERS_REAUTH,
    "GET accounts_apikey_changelist": SECURITY,
    "GET accounts_apikey_revoke": SECURITY_REAUTH,
    "POST accounts_apikey_revoke": SECURITY_REAUTH,
    "GET accounts_refusedmail_changelist": ALL,
    "GET accounts_operator_changelist": SUPERUSERS,
    "GET accounts_operator_change": SUPERUSERS_REAUTH,
    "GET accounts_operator_history": SUPERUSERS,
    "POST accounts_operator_add": NOBODY,
    "POST accounts_operator_change": SUPERUSERS_REAUTH,
    "POST accounts_operator_delete": NOBODY,
    "ACTION accounts_operator.reset_second_factor": SUPERUSERS_REAUTH,
    "GET axes_accessattempt_changelist": ALL,
    "GET axes_accessattempt_change": ALL,
    "GET axes_accessattempt_change of-an-operator": SUPERUSERS,
    "GET axes_accessattempt_history": ALL,
    "POST axes_accessattempt_add": NOBODY,
    "POST axes_accessattempt_change": NOBODY,
    "POST axes_accessattempt_delete": ALL,
    "POST axes_accessattempt_delete of-an-operator": SUPERUSERS,
    "ACTION axes_accessattempt.delete_selected": ALL,
    "GET audit_auditlog_changelist": SECURITY,
    "GET audit_auditlog_change": SECURITY,
    "GET audit_auditlog_history": SECURITY,
    "GET audit_auditlog_overview": SECURITY,
    "POST audit_auditlog_export": SECURITY_REAUTH,
    "POST audit_auditlog_add": NOBODY,
    "POST audit_auditlog_change": NOBODY,
    "POST audit_auditlog_delete": NOBODY,
    "GET logout": (NO, NO, NO, IN, IN, NO, NO),
    "POST logout": (GO, GO, GO, IN, IN, GO, GO),  # must be the last row
}


@dataclass
class Caller:
    client: Client
    person: Person | None = None  # an operator


class Fixtures:
    """Objects of the requests. Most are created for each request, since it may delete or change them."""

    def __init__(self, superuser: psycopg.Connection) -> None:
        self.superuser = superuser
        self.ada = sign_in(make_creator("ada@example.com"))
        self.sam = make_operator("sam@example.com", "support")

    def creator(self, caller: Caller, action: str = "") -> Any:
        """Create a creator, and a justification of the operator."""
        waiting: Any = {"holds_email": False, "email_verified_at": None} if action == "mark_verified" else {}
        email = f"{uuid4()}@example.com"
        creator = make_creator(email, is_active=action != "reactivate", **waiting)
        if caller.person:
            with using_alias(OPERATOR):
                justification.record_justification(
                    creator_id=creator.id,
                    operator_id=caller.person.id,
                    reason="a row of a table",
                    client=ClientInfo(),
                )
        FORMS["accounts_creator_action"] = {"typed": email}
        return creator.id

    def attempt(self, scope: str) -> Any:
        """Create a lockout in `scope`."""
        return self._made(
            "INSERT INTO axes_accessattempt (username, user_agent, ip_address, http_accept, path_info, attempt_time, "
            "get_data, post_data, failures_since_start) VALUES (%s, %s, NULL, '', '', now(), '', '', 5) RETURNING id",
            self.ada.email,
            scope,
        )

    def api_key(self) -> Any:
        return self._made(
            "INSERT INTO api_keys (id, name, digest, created_at) VALUES (%s, %s, %s, now()) RETURNING id",
            uuid4(), uuid4().hex, uuid4().bytes,
        )  # fmt: skip

    def event(self) -> Any:
        return self._made("SELECT id FROM audit_logs LIMIT 1")

    def _made(self, statement: str, *values: Any) -> Any:
        row = self.superuser.execute(statement.encode(), values).fetchone()
        assert row
        return row[0]


# the arguments of a route
OBJECTS: dict[str, Callable[[Fixtures, Caller, str], list[Any]]] = {
    "app_list": lambda _fixtures, _caller, label: [label],
    "accounts_creator_change": lambda fixtures, caller, _: [fixtures.creator(caller)],
    "accounts_creator_action": lambda fixtures, caller, action: [fixtures.creator(caller, action), action],
    "accounts_operator_": lambda fixtures, _caller, _: [fixtures.sam.id],
    "accounts_apikey_revoke": lambda fixtures, _caller, _: [fixtures.api_key()],
    "axes_accessattempt_": lambda fixtures, _caller, whose: [fixtures.attempt("admin" if whose else "api")],
    "audit_auditlog_": lambda fixtures, _caller, _: [fixtures.event()],
}
WITHOUT_OBJECT = ("_changelist", "_add", "_overview", "_export")
FORMS: dict[str, dict[str, Any]] = {
    "accounts_creator_change": {"reason": "a row of a table"},
    "accounts_operator_change": {"role": "security", "is_active": "on"},
    "axes_accessattempt_delete": {"post": "yes"},
    "audit_auditlog_export": {"format": "csv"},
}


def routes() -> Iterator[str]:
    """Names of all routes under /admin/."""

    def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and not route.endswith("/<path:object_id>/"):
                yield route, pattern.name or ("catch_all" if "(?P<url>" in route else route)

    return (name for route, name in walk(get_resolver().url_patterns) if route.startswith("admin/"))


def actions() -> Iterator[str]:
    """Actions of the changelists that a superuser can use."""
    request = RequestFactory().get("/admin/")
    request.user = Creator(is_staff=True, is_superuser=True)
    for model, model_admin in admin.site._registry.items():
        target = f"{model._meta.app_label}_{model._meta.model_name}"
        yield from (f"{target}.{name}" for name in model_admin.get_actions(request))


def test_table_has_exactly_the_existing_pages_and_actions() -> None:
    names = [row.split()[1] for row in TABLE if not row.startswith("ACTION")]
    assert set(names) == set(routes())
    assert {row.split()[1] for row in TABLE if row.startswith("ACTION")} == set(actions())
    assert {row.split()[2] for row in TABLE if " accounts_creator_action " in row} == set(SUPPORT_ACTIONS)
    assert {len(row) for row in TABLE.values()} == {len(CALLERS)}


@pytest.fixture
def fixtures(superuser: psycopg.Connection, transactional_db: None) -> Fixtures:
    return Fixtures(superuser)


def operator(role: str) -> Caller:
    person = make_operator(f"{role}@example.com", role)
    return Caller(sign_in_operator(person), person)


def callers(fixtures: Fixtures) -> dict[str, Caller]:
    """A client for each kind of caller, signed in as far as possible."""
    creator = Client(headers={"Authorization": f"Bearer {fixtures.ada.access}"})
    creator.post("/admin/login/", {"username": fixtures.ada.email, "password": fixtures.ada.password})
    return {
        **{role: operator(role) for role in ("support", "security", "superuser")},
        "creator": Caller(creator),
        "anonymous": Caller(Client()),
        "no second factor": Caller(give_password(make_operator("new@example.com", with_app=False))),
        "no code yet": Caller(give_password(make_operator("password-only@example.com"))),
    }


def send(caller: Caller, row: str, fixtures: Fixtures) -> Any:
    """Send the request of a row."""
    method, target, more = f"{row} ".split(" ", 2)
    route, _, action = target.partition(".")
    make = next((make for name, make in OBJECTS.items() if f"{route}_".startswith(name)), None)
    has_object = make and not route.endswith(WITHOUT_OBJECT)
    arguments = make(fixtures, caller, more.strip()) if make and has_object else []
    if method == "ACTION":
        form = {"action": action, ACTION_CHECKBOX_NAME: [str(each) for each in arguments]}
        return caller.client.post(reverse(f"admin:{route}_changelist"), form)
    path = "/admin/nothing/" if route == "catch_all" else reverse(f"admin:{route}", args=arguments)
    return caller.client.get(path) if method == "GET" else caller.client.post(path, FORMS.get(route, {}))


def outcome(client: Client, response: Any) -> str:
    location = response.headers.get("Location", "")
    if location.startswith("/admin/login/"):
        onward = client.get(location).headers.get("Location", "")
        return CODE if onward.startswith("/admin/second-factor/") else IN
    for page, result in (("/admin/second-factor/", CODE), ("/admin/confirm/", REAUTH)):
        if location.startswith(page):
            return result
    if response.status_code in {403, 404, 405} or (location == "/admin/" and _is_missing(client)):
        return NO
    return GO if response.status_code in {200, 302} else str(response.status_code)


def _is_missing(client: Client) -> bool:
    """Django redirects to the index, with a message, if the caller can't see the object."""
    return "Perhaps it was deleted?" in client.get("/admin/").content.decode()


def rights(fixtures: Fixtures) -> list[Any]:
    query = "SELECT id, is_active, is_superuser, email, password FROM creators WHERE is_staff ORDER BY id"
    return [
        *fixtures.superuser.execute(query),
        *fixtures.superuser.execute("SELECT * FROM creators_groups ORDER BY id"),
    ]


def test_every_page_is_allowed_as_the_table_says(fixtures: Fixtures) -> None:
    by_role = callers(fixtures)
    before = rights(fixtures)
    results = {
        row: tuple(outcome(each.client, send(each, row, fixtures)) for each in by_role.values())
        for row in TABLE
    }
    assert results == TABLE
    assert rights(fixtures) == before


@pytest.mark.parametrize("role", CALLERS[:3])
def test_reauthentication_allows_what_requires_it(fixtures: Fixtures, role: str) -> None:
    caller = operator(role)
    assert caller.person
    reauthenticate(caller.client, caller.person)
    for row, cells in TABLE.items():
        if cells[CALLERS.index(role)] == REAUTH:
            assert outcome(caller.client, send(caller, row, fixtures)) == GO, row
