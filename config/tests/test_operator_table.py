"""Every page and action of the operators' site by every kind of caller. What is missing here fails.

Rows are `METHOD route`, with what stands after the route in brackets: `POST accounts_creator_act deactivate`.
An action of a list is `ACTION list.action`.
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

from accounts.admin.actions import ACTION_TEXTS
from accounts.models import Creator
from accounts.services.operators import justification
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.operators import confirm, enter, give_password, make_operator
from tenancy.context import OPERATOR, using_alias

GO = "go"  # it is shown or done
STEP = "step"  # it is once the password, or a code, is given again
NO = "no"  # not to this caller, or there is no such thing
IN = "in"  # to the sign-in
CODE = "code"  # to the second factor
CALLERS = ("support", "security", "superuser", "creator", "anonymous", "no second factor", "no code yet")
Row = tuple[str, ...]


def of(support: str, security: str, superuser: str) -> Row:
    """What operators get; everybody else is asked to sign in, and who has come halfway for the second factor."""
    return (support, security, superuser, IN, IN, CODE, CODE)


ALL, SUPERUSERS, NOBODY = of(GO, GO, GO), of(NO, NO, GO), of(NO, NO, NO)
SECURITY, SECURITY_CONFIRMED, SUPERUSERS_CONFIRMED = of(NO, GO, GO), of(NO, STEP, STEP), of(NO, NO, STEP)

TABLE: dict[str, Row] = {
    "GET login": (GO, GO, GO, GO, GO, CODE, CODE),
    "GET confirm": ALL,
    "GET second_factor": (GO, GO, GO, IN, IN, CODE, GO),
    "GET second_factor_set_up": (STEP, STEP, STEP, IN, IN, GO, CODE),
    "POST recovery_codes": of(STEP, STEP, STEP),
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
    "POST accounts_creator_change": ALL,  # the reason
    "POST accounts_creator_act lift_lock": ALL,
    "POST accounts_creator_act end_sessions": ALL,
    "POST accounts_creator_act send_reset": ALL,
    "POST accounts_creator_act mark_verified": SECURITY_CONFIRMED,
    "POST accounts_creator_act deactivate": SECURITY_CONFIRMED,
    "POST accounts_creator_act reactivate": SECURITY_CONFIRMED,
    "POST accounts_creator_act delete": SUPERUSERS_CONFIRMED,
    "GET accounts_apikey_changelist": SECURITY,
    "GET accounts_apikey_revoke": SECURITY_CONFIRMED,
    "POST accounts_apikey_revoke": SECURITY_CONFIRMED,
    "GET accounts_refusedmail_changelist": ALL,
    "GET accounts_operator_changelist": SUPERUSERS,
    "GET accounts_operator_change": SUPERUSERS_CONFIRMED,
    "GET accounts_operator_history": SUPERUSERS,
    "POST accounts_operator_add": NOBODY,
    "POST accounts_operator_change": SUPERUSERS_CONFIRMED,
    "POST accounts_operator_delete": NOBODY,
    "ACTION accounts_operator.reset_second_factor": SUPERUSERS_CONFIRMED,
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
    "POST audit_auditlog_export": SECURITY_CONFIRMED,
    "POST audit_auditlog_add": NOBODY,
    "POST audit_auditlog_change": NOBODY,
    "POST audit_auditlog_delete": NOBODY,
    "GET logout": (NO, NO, NO, IN, IN, NO, NO),
    "POST logout": (GO, GO, GO, IN, IN, GO, GO),  # the last one
}


@dataclass
class Caller:
    client: Client
    person: Person | None = None  # an operator


class Cast:
    """Whom and what the callers act on: made anew for each of them, since a row may use it up."""

    def __init__(self, superuser: psycopg.Connection) -> None:
        self.superuser = superuser
        self.ada = sign_in(make_creator("ada@example.com"))
        self.sam = make_operator("sam@example.com", "support")

    def creator(self, caller: Caller, act: str = "") -> Any:
        """A new one, for whom the operator has said why."""
        waiting: Any = {"holds_email": False, "email_verified_at": None} if act == "mark_verified" else {}
        email = f"{uuid4()}@example.com"
        creator = make_creator(email, is_active=act != "reactivate", **waiting)
        if caller.person:
            with using_alias(OPERATOR):
                justification.record_justification(
                    creator_id=creator.id,
                    operator_id=caller.person.id,
                    reason="a row of a table",
                    client=ClientInfo(),
                )
        FORMS["accounts_creator_act"] = {"typed": email}
        return creator.id

    def attempt(self, door: str) -> Any:
        """A count of failures at `door`."""
        return self._made(
            "INSERT INTO axes_accessattempt (username, user_agent, ip_address, http_accept, path_info, attempt_time, "
            "get_data, post_data, failures_since_start) VALUES (%s, %s, NULL, '', '', now(), '', '', 5) RETURNING id",
            self.ada.email,
            door,
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


# what a route's variables are filled with
OBJECTS: dict[str, Callable[[Cast, Caller, str], list[Any]]] = {
    "app_list": lambda _cast, _caller, label: [label],
    "accounts_creator_change": lambda cast, caller, _: [cast.creator(caller)],
    "accounts_creator_act": lambda cast, caller, act: [cast.creator(caller, act), act],
    "accounts_operator_": lambda cast, _caller, _: [cast.sam.id],
    "accounts_apikey_revoke": lambda cast, _caller, _: [cast.api_key()],
    "axes_accessattempt_": lambda cast, _caller, whose: [cast.attempt("admin" if whose else "api")],
    "audit_auditlog_": lambda cast, _caller, _: [cast.event()],
}
WITHOUT_OBJECT = ("_changelist", "_add", "_overview", "_export")
FORMS: dict[str, dict[str, Any]] = {
    "accounts_creator_change": {"reason": "a row of a table"},
    "accounts_operator_change": {"role": "security", "is_active": "on"},
    "axes_accessattempt_delete": {"post": "yes"},
    "audit_auditlog_export": {"format": "csv"},
}


def routes() -> Iterator[str]:
    """Names of all that is served under /admin/."""

    def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and not route.endswith("/<path:object_id>/"):
                yield route, pattern.name or ("catch_all" if "(?P<url>" in route else route)

    return (name for route, name in walk(get_resolver().url_patterns) if route.startswith("admin/"))


def actions() -> Iterator[str]:
    """What a superuser can do with the rows of a list."""
    request = RequestFactory().get("/admin/")
    request.user = Creator(is_staff=True, is_superuser=True)
    for model, model_admin in admin.site._registry.items():
        place = f"{model._meta.app_label}_{model._meta.model_name}"
        yield from (f"{place}.{name}" for name in model_admin.get_actions(request))


def test_table_has_every_page_and_every_action_and_no_other() -> None:
    told = [row.split()[1] for row in TABLE if not row.startswith("ACTION")]
    assert set(told) == set(routes())
    assert {row.split()[1] for row in TABLE if row.startswith("ACTION")} == set(actions())
    assert {row.split()[2] for row in TABLE if " accounts_creator_act " in row} == set(ACTION_TEXTS)
    assert {len(row) for row in TABLE.values()} == {len(CALLERS)}


@pytest.fixture
def cast(superuser: psycopg.Connection, transactional_db: None) -> Cast:
    return Cast(superuser)


def operator(role: str) -> Caller:
    person = make_operator(f"{role}@example.com", role)
    return Caller(enter(person), person)


def callers(cast: Cast) -> dict[str, Caller]:
    """Each as far as he comes."""
    creator = Client(headers={"Authorization": f"Bearer {cast.ada.access}"})
    creator.post("/admin/login/", {"username": cast.ada.email, "password": cast.ada.password})
    return {
        **{role: operator(role) for role in ("support", "security", "superuser")},
        "creator": Caller(creator),
        "anonymous": Caller(Client()),
        "no second factor": Caller(give_password(make_operator("new@example.com", with_app=False))),
        "no code yet": Caller(give_password(make_operator("halfway@example.com"))),
    }


def ask(caller: Caller, row: str, cast: Cast) -> Any:
    """The answer, for a row on an object of its own."""
    method, place, more = f"{row} ".split(" ", 2)
    route, _, action = place.partition(".")
    make = next((make for name, make in OBJECTS.items() if f"{route}_".startswith(name)), None)
    has_object = make and not route.endswith(WITHOUT_OBJECT)
    found = make(cast, caller, more.strip()) if make and has_object else []
    if method == "ACTION":
        form = {"action": action, ACTION_CHECKBOX_NAME: [str(one) for one in found]}
        return caller.client.post(reverse(f"admin:{route}_changelist"), form)
    path = "/admin/nothing/" if route == "catch_all" else reverse(f"admin:{route}", args=found)
    return caller.client.get(path) if method == "GET" else caller.client.post(path, FORMS.get(route, {}))


def verdict(client: Client, answer: Any) -> str:
    where = answer.headers.get("Location", "")
    if where.startswith("/admin/login/"):
        onward = client.get(where).headers.get("Location", "")
        return CODE if onward.startswith("/admin/second-factor/") else IN
    for page, word in (("/admin/second-factor/", CODE), ("/admin/confirm/", STEP)):
        if where.startswith(page):
            return word
    if answer.status_code in {403, 404, 405} or (where == "/admin/" and _is_missing(client)):
        return NO
    return GO if answer.status_code in {200, 302} else str(answer.status_code)


def _is_missing(client: Client) -> bool:
    """Django's way of a 404 for an object that the caller can't see: on the next page."""
    return "Perhaps it was deleted?" in client.get("/admin/").content.decode()


def rights(cast: Cast) -> list[Any]:
    query = "SELECT id, is_active, is_superuser, email, password FROM creators WHERE is_staff ORDER BY id"
    return [
        *cast.superuser.execute(query),
        *cast.superuser.execute("SELECT * FROM creators_groups ORDER BY id"),
    ]


def test_every_page_answers_every_caller_as_the_table_says(cast: Cast) -> None:
    people = callers(cast)
    before = rights(cast)
    found = {row: tuple(verdict(one.client, ask(one, row, cast)) for one in people.values()) for row in TABLE}
    assert found == TABLE
    assert rights(cast) == before


@pytest.mark.parametrize("role", CALLERS[:3])
def test_what_wants_a_confirmation_is_done_after_it(cast: Cast, role: str) -> None:
    caller = operator(role)
    assert caller.person
    confirm(caller.client, caller.person)
    for row, cells in TABLE.items():
        if cells[CALLERS.index(role)] == STEP:
            assert verdict(caller.client, ask(caller, row, cast)) == GO, row
