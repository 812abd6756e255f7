"""Every endpoint by every kind of caller → status. An endpoint that is missing here fails."""

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from accounts.services import api_keys
from accounts.tests.support.forged_tokens import FOREIGN, claims_with, signed, unpack
from config.tests.support.accounts import Person, make_creator, no_lockout, sign_in
from config.tests.support.client import API
from config.tests.support.requests import BODIES
from config.tests.support.urls import endpoints
from tenancy.context import OPERATOR, using_alias

CALLERS = ("anonymous", "expired", "forged", "other tenant", "deactivated", "verified", "staff")
Row = tuple[int, int, int, int, int, int, int]


def anybody(status: int) -> Row:
    """The bearer is not looked at."""
    return (status,) * 7


def owner(status: int, *, other: int | None = None) -> Row:
    """`other` is what Bob gets with his own token: his own data, or 404 where Ada's are asked for."""
    return (401, 401, 401, other or status, 401, status, 401)


TABLE: dict[str, Row] = {
    "POST api/v1/auth/register": anybody(202),
    "POST api/v1/auth/email/verify": anybody(400),
    "POST api/v1/auth/email/verify/resend": anybody(202),
    "POST api/v1/auth/email/change": owner(403),  # the password is wrong
    "POST api/v1/auth/email/change/confirm": anybody(400),
    "POST api/v1/auth/login": anybody(401),
    "POST api/v1/auth/refresh": anybody(401),
    "POST api/v1/auth/logout": anybody(401),
    "POST api/v1/auth/logout/all": owner(204),
    "GET api/v1/auth/sessions": owner(200),
    "DELETE api/v1/auth/sessions/<uuid:session_id>": owner(204, other=404),
    "POST api/v1/auth/password/change": owner(403),
    "POST api/v1/auth/password/validate": anybody(200),
    "POST api/v1/auth/password/reset": anybody(202),
    "POST api/v1/auth/password/reset/confirm": anybody(400),
    "GET api/v1/auth/me": owner(200),
    "PATCH api/v1/auth/me": owner(200),
    "POST api/v1/auth/me/delete": owner(403),
    "GET api/v1/auth/me/export": owner(200),
    "POST api/v1/auth/token/introspect": anybody(401),  # an API key opens it, no creator's token
    "POST api/v1/auth/token/revoke": anybody(401),
    "GET api/v1/end-users/sessions": owner(200),
    "POST api/v1/end-users/sessions": anybody(201),
    "GET api/v1/end-users/sessions/current": anybody(401),  # a visitor's token opens it
    "DELETE api/v1/end-users/sessions/current": anybody(401),
    "DELETE api/v1/end-users/sessions/<uuid:session_id>": owner(204, other=404),
    "GET api/v1/audit/events": owner(200),
    "GET account/password-reset/": anybody(200),
    "GET account/password-reset/done/": anybody(200),
    "GET account/reset/done/": anybody(200),
    "GET account/reset/<str:uid>/<str:token>/": anybody(400),
    "GET account/email-change/done/": anybody(200),
    "GET account/email-change/undo/<str:uid>/<str:token>/": anybody(400),
    "GET account/email-change/<str:uid>/<str:token>/": anybody(400),
    "GET account/verify-email/done/": anybody(200),
    "GET account/verify-email/<str:uid>/<str:token>/": anybody(400),
    "GET .well-known/jwks.json": anybody(200),
    "GET .well-known/change-password": anybody(302),
    "GET healthz": anybody(200),
    "GET metrics": anybody(200),  # from loopback, as these callers are
    "GET readyz": anybody(200),
    "GET api/schema": anybody(200),
    "GET api/docs/": anybody(200),
}


@dataclass
class Cast:
    ada: Person
    bob: Person
    off: Person
    olga: Person

    def tokens(self) -> dict[str, str]:
        """Fresh ones: what is asked may end them."""
        for person in (self.ada, self.bob, self.off, self.olga):
            sign_in(person)
        return {
            "anonymous": "",
            "expired": claims_with(exp=1)(self.ada.access),
            "forged": signed(*unpack(self.ada.access), FOREIGN),
            "other tenant": self.bob.access,
            "deactivated": self.off.access,
            "verified": self.ada.access,
            "staff": self.olga.access,
        }


@pytest.fixture
def cast(ada: Person, bob: Person, superuser: psycopg.Connection) -> Cast:
    return Cast(ada, bob, make_creator("off@example.com"), make_creator("olga@example.com"))


@pytest.fixture
def force(superuser: psycopg.Connection, cast: Cast) -> Any:
    """Olga is staff and Off is out, except while their tokens are issued."""

    def apply(*, on: bool) -> None:
        superuser.execute("UPDATE creators SET is_staff = %s WHERE id = %s", [on, cast.olga.id])
        superuser.execute("UPDATE creators SET is_active = %s WHERE id = %s", [not on, cast.off.id])

    return apply


def test_table_has_every_endpoint_and_no_other() -> None:
    assert set(endpoints()) == set(TABLE)


def concrete(route: str, cast: Cast, visitor: str) -> str:
    session = visitor if "end-users" in route else unpack(cast.ada.access)[1]["sid"]
    path = route.replace("<uuid:session_id>", session)
    return "/" + path.replace("<str:uid>", "AaIFK3-bcBSW6BR0gZqmRQ").replace("<str:token>", "x" * 43)


def test_every_endpoint_answers_every_caller_as_the_table_says(
    api: API, cast: Cast, force: Any, settings: Any
) -> None:
    no_lockout(settings)
    found: dict[str, Row] = {}
    for endpoint in TABLE:
        method, route = endpoint.split(" ")
        force(on=False)
        tokens = cast.tokens()
        visitor = api.post("/api/v1/end-users/sessions", {"creator": str(cast.ada.id)}).json()["session_id"]
        force(on=True)
        body = BODIES.get(f"/{route}", {}) | ({"creator": str(cast.ada.id)} if "end-users" in route else {})
        statuses = [
            api.call(method, concrete(route, cast, visitor), body or None, token=tokens[who]).status_code
            for who in CALLERS
        ]
        found[endpoint] = tuple(statuses)
    assert found == TABLE


def test_staff_do_not_sign_in_at_the_api(api: API, cast: Cast, force: Any) -> None:
    cast.tokens()
    force(on=True)
    assert api.post("login", {"email": cast.olga.email, "password": cast.olga.password}).status_code == 401
    assert api.post("refresh", {"refresh": cast.olga.refresh}).status_code == 401


def test_resource_servers_come_in_with_their_key_only(api: API, cast: Cast) -> None:
    with using_alias(OPERATOR):
        key = str(api_keys.create_api_key("a resource server"))
    for door in ("introspect", "revoke"):
        for token, status in ((key, 200), (key[:-1], 401), (cast.ada.access, 401), ("", 401)):
            answer = api.generic(
                "POST",
                f"/api/v1/auth/token/{door}",
                f"token={cast.bob.access}",
                content_type="application/x-www-form-urlencoded",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status_code == status, (door, token)
    assert api.get("me", token=key).status_code == 401


def test_visitors_come_in_to_their_own_session_only(api: API, cast: Cast) -> None:
    opened = api.post("/api/v1/end-users/sessions", {"creator": str(cast.ada.id)}).json()
    visitor = opened["session"]
    current = "/api/v1/end-users/sessions/current"
    assert api.get(current, token=visitor).json()["id"] == opened["session_id"]
    for endpoint, row in TABLE.items():
        method, route = endpoint.split(" ")
        if row[0] == 401 and row[5] != 401:  # a creator's door
            path = concrete(route, cast, opened["session_id"])
            assert api.call(method, path, BODIES.get(f"/{route}"), token=visitor).status_code == 401, endpoint
    assert api.delete(current, token=visitor).status_code == 204
    assert api.get(current, token=visitor).status_code == 401
