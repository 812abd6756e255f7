"""Every page and action of the operators' site by every kind of caller. What is missing here fails.

Rows are `METHOD route`, with what stands after the route in brackets: `POST accounts_creator_act deactivate`.
An action of a list is `ACTION list.action`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import Creator
from config.tests.fixtures import Person, make_creator, sign_in
from config.tests.operators import confirm, enter, give_password, make_operator

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

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
SUPERUSERS_CONFIRMED = of(NO, NO, STEP)

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
    "GET catch_all": NOBODY,
    "GET accounts_creator_changelist": ALL,
    "GET accounts_creator_change": ALL,
    "GET accounts_creator_history": ALL,
    "POST accounts_creator_add": NOBODY,
    "POST accounts_creator_change": NOBODY,
    "POST accounts_creator_delete": NOBODY,
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
    "GET logout": (NO, NO, NO, IN, IN, NO, NO),
    "POST logout": (GO, GO, GO, IN, IN, GO, GO),  # the last one
}


@dataclass
class Cast:
    ada: Person
    sam: Person  # an operator, on whom others act
    superuser: psycopg.Connection

    def attempt(self, door: str) -> int:
        """A count of failures at `door`, which a row may delete."""
        row = self.superuser.execute(
            "INSERT INTO axes_accessattempt (username, user_agent, ip_address, http_accept, path_info, attempt_time, "
            "get_data, post_data, failures_since_start) VALUES (%s, %s, NULL, '', '', now(), '', '', 5) RETURNING id",
            [self.ada.email, door],
        ).fetchone()
        assert row
        return int(row[0])


# what a route's variables are filled with
OBJECTS: dict[str, Callable[[Cast], Any]] = {
    "accounts_creator": lambda cast: cast.ada.id,
    "accounts_operator": lambda cast: cast.sam.id,
    "axes_accessattempt": lambda cast: cast.attempt("api"),
    "axes_accessattempt of-an-operator": lambda cast: cast.attempt("admin"),
}
FORMS: dict[str, dict[str, Any]] = {
    "accounts_operator_change": {"role": "security", "is_active": "on"},
    "axes_accessattempt_delete": {"post": "yes"},
}
PATHS = {"catch_all": "/admin/nothing/"}


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
    assert {len(row) for row in TABLE.values()} == {len(CALLERS)}


@pytest.fixture
def cast(superuser: psycopg.Connection, transactional_db: None) -> Cast:
    ada = sign_in(make_creator("ada@example.com"))
    return Cast(ada, make_operator("sam@example.com", "support"), superuser)


def browsers(cast: Cast) -> dict[str, Client]:
    """Each caller as far as he comes."""
    creator = Client(headers={"Authorization": f"Bearer {cast.ada.access}"})
    creator.post("/admin/login/", {"username": cast.ada.email, "password": cast.ada.password})
    roles = ("support", "security", "superuser")
    return {
        **{role: enter(make_operator(f"{role}@example.com", role)) for role in roles},
        "creator": creator,
        "anonymous": Client(),
        "no second factor": give_password(make_operator("new@example.com", with_app=False)),
        "no code yet": give_password(make_operator("halfway@example.com")),
    }


def ask(client: Client, row: str, cast: Cast) -> Any:
    """The answer, for a row on a fresh object."""
    method, place, *more = row.split()
    route, _, action = place.partition(".")
    model = re.sub(r"_[a-z]+$", "", route) if method != "ACTION" else route
    object_id = OBJECTS[" ".join([model, *more])](cast) if model in OBJECTS else None
    if method == "ACTION":
        return client.post(
            reverse(f"admin:{route}_changelist"), {"action": action, ACTION_CHECKBOX_NAME: [str(object_id)]}
        )
    path = PATHS.get(route) or reverse(f"admin:{route}", args=_arguments(route, object_id, more))
    return client.get(path) if method == "GET" else client.post(path, FORMS.get(route, {}))


def _arguments(route: str, object_id: UUID | int | None, more: list[str]) -> list[Any]:
    if route == "app_list":
        return more
    return [] if object_id is None or route.endswith(("_changelist", "_add")) else [object_id]


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
    query = "SELECT id, is_active, is_staff, is_superuser, email, password FROM creators ORDER BY id"
    return [
        *cast.superuser.execute(query),
        *cast.superuser.execute("SELECT * FROM creators_groups ORDER BY id"),
    ]


def test_every_page_answers_every_caller_as_the_table_says(cast: Cast) -> None:
    people = browsers(cast)
    before = rights(cast)
    found = {
        row: tuple(verdict(client, ask(client, row, cast)) for client in people.values()) for row in TABLE
    }
    assert found == TABLE
    assert rights(cast) == before


def test_what_wants_a_confirmation_is_done_after_it(cast: Cast) -> None:
    for name in ("support", "security", "superuser"):
        person = make_operator(f"{name}@example.com", name)
        client = enter(person)
        confirm(client, person)
        for row, cells in TABLE.items():
            if cells[CALLERS.index(name)] == STEP:
                assert verdict(client, ask(client, row, cast)) == GO, (name, row)
