"""Every endpoint by every kind of caller → status.

TABLE must have every endpoint that reads a bearer token. The others must treat all callers alike.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from accounts.api.endpoints import endpoints
from accounts.services import api_keys
from accounts.tests.support.forged_tokens import FOREIGN, claims_with, signed, unpack
from config.tests.support.accounts import Person, make_creator, no_lockout, sign_in
from config.tests.support.client import API
from config.tests.support.urls import POST_BODIES, endpoint_names, is_public
from tenancy.context import OPERATOR, using_alias

CALLERS = ("anonymous", "expired", "forged", "other tenant", "deactivated", "verified", "staff")
Row = tuple[int, int, int, int, int, int, int]


def anybody(status: int) -> Row:
    return (status,) * 7


def owner(status: int, *, other: int | None = None) -> Row:
    """`other` is Bob's status with his own token: his own data, or 404 for Ada's."""
    return (401, 401, 401, other or status, 401, status, 401)


TABLE: dict[str, Row] = {
    "POST api/v1/auth/email/change": owner(403),  # the password is wrong
    "POST api/v1/auth/logout/all": owner(204),
    "GET api/v1/auth/sessions": owner(200),
    "DELETE api/v1/auth/sessions/<uuid:session_id>": owner(204, other=404),
    "POST api/v1/auth/password/change": owner(403),
    "GET api/v1/auth/me": owner(200),
    "PATCH api/v1/auth/me": owner(200),
    "POST api/v1/auth/me/delete": owner(403),
    "GET api/v1/auth/me/export": owner(200),
    "POST api/v1/auth/token/introspect": anybody(401),  # needs an API key
    "POST api/v1/auth/token/revoke": anybody(401),
    "GET api/v1/end-users/sessions": owner(200),
    "GET api/v1/end-users/sessions/current": anybody(401),  # needs an end user's token
    "DELETE api/v1/end-users/sessions/current": anybody(401),
    "DELETE api/v1/end-users/sessions/<uuid:session_id>": owner(204, other=404),
    "GET api/v1/audit/events": owner(200),
    "GET metrics": anybody(200),  # these callers come from loopback
}


@dataclass
class Cast:
    ada: Person
    bob: Person
    off: Person
    olga: Person

    def tokens(self) -> dict[str, str]:
        """New ones, because a request may end the session."""
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
    """Makes Olga staff and deactivates Off; undone while tokens are issued."""

    def apply(*, on: bool) -> None:
        superuser.execute("UPDATE creators SET is_staff = %s WHERE id = %s", [on, cast.olga.id])
        superuser.execute("UPDATE creators SET is_active = %s WHERE id = %s", [not on, cast.off.id])

    return apply


def test_table_has_every_endpoint_that_reads_a_token() -> None:
    private = {f"{endpoint.method} {endpoint.route}" for endpoint in endpoints() if not is_public(endpoint)}
    assert private == set(TABLE)


def path_of(route: str, cast: Cast, end_user_session: str) -> str:
    session = end_user_session if "end-users" in route else unpack(cast.ada.access)[1]["sid"]
    path = route.replace("<uuid:session_id>", session)
    return "/" + path.replace("<str:uid>", "AaIFK3-bcBSW6BR0gZqmRQ").replace("<str:token>", "x" * 43)


def test_each_caller_gets_the_status_of_the_table(api: API, cast: Cast, force: Any, settings: Any) -> None:
    no_lockout(settings)
    statuses: dict[str, Row] = {}
    for endpoint in endpoint_names():
        method, route = endpoint.split(" ")
        force(on=False)
        tokens = cast.tokens()
        opened = api.post("/api/v1/end-users/sessions", {"creator": str(cast.ada.id)}).json()
        force(on=True)
        body = POST_BODIES.get(f"/{route}", {}) | (
            {"creator": str(cast.ada.id)} if "end-users" in route else {}
        )
        path = path_of(route, cast, opened["session_id"])
        row = [api.call(method, path, body or None, token=tokens[who]).status_code for who in CALLERS]
        statuses[endpoint] = tuple(row)
    assert {endpoint: row for endpoint, row in statuses.items() if endpoint in TABLE} == TABLE
    assert not {name: row for name, row in statuses.items() if name not in TABLE and len(set(row)) > 1}


def test_staff_cannot_sign_in_through_the_api(api: API, cast: Cast, force: Any) -> None:
    cast.tokens()
    force(on=True)
    assert api.post("login", {"email": cast.olga.email, "password": cast.olga.password}).status_code == 401
    assert api.post("refresh", {"refresh": cast.olga.refresh}).status_code == 401


def test_resource_servers_need_their_key(api: API, cast: Cast) -> None:
    with using_alias(OPERATOR):
        key = str(api_keys.create_api_key("a resource server"))
    for action in ("introspect", "revoke"):
        for token, status in ((key, 200), (key[:-1], 401), (cast.ada.access, 401), ("", 401)):
            response = api.generic(
                "POST",
                f"/api/v1/auth/token/{action}",
                f"token={cast.bob.access}",
                content_type="application/x-www-form-urlencoded",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert response.status_code == status, (action, token)
    assert api.get("me", token=key).status_code == 401


def test_end_user_token_opens_only_its_own_session(api: API, cast: Cast) -> None:
    opened = api.post("/api/v1/end-users/sessions", {"creator": str(cast.ada.id)}).json()
    token = opened["session"]
    current = "/api/v1/end-users/sessions/current"
    assert api.get(current, token=token).json()["id"] == opened["session_id"]
    for endpoint, row in TABLE.items():
        method, route = endpoint.split(" ")
        if row[0] == 401 and row[5] != 401:  # needs a creator's token
            path = path_of(route, cast, opened["session_id"])
            assert api.call(method, path, POST_BODIES.get(f"/{route}"), token=token).status_code == 401, (
                endpoint
            )
    assert api.delete(current, token=token).status_code == 204
    assert api.get(current, token=token).status_code == 401
