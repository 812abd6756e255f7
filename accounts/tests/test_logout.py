"""Signing out: here, everywhere, twice, and never for somebody else."""

from typing import Any

import psycopg
import pytest
from django.utils import timezone

from accounts.models import BlacklistedToken
from accounts.tests.support.flows import all_at_once, events
from accounts.tests.support.forged_tokens import claims_with, unpack
from config.tests.support.accounts import Person, sign_in
from config.tests.support.client import API
from tenancy.context import tenant_scope


def is_in(api: API, person: Person) -> tuple[int, int]:
    """What the access token gets, and whether the refresh token would (only looks at the first)."""
    return (
        api.get("me", token=person.access).status_code,
        api.post("refresh", {"refresh": person.refresh}).status_code,
    )


def test_sign_out_ends_the_session_and_both_tokens(api: API, ada: Person) -> None:
    response = api.post("logout", {"refresh": ada.refresh}, token=ada.access)
    assert (response.status_code, response.content) == (204, b"")
    assert is_in(api, ada) == (401, 401)


def test_sign_out_needs_the_refresh_token_only(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert is_in(api, ada) == (401, 401)
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist").fetchone() == (0,)


def test_presented_access_token_is_blacklisted_by_its_id(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    tablet = sign_in(Person(ada.id, ada.email))
    assert api.post("logout", {"refresh": tablet.refresh}, token=ada.access).status_code == 204
    assert api.get("me", token=ada.access).status_code == 401
    (rows,) = superuser.execute("SELECT count(*) FROM jwt_blacklist").fetchone()  # type: ignore[misc]
    assert rows == 1
    # the session that it belonged to lives on
    pair = api.post("refresh", {"refresh": ada.refresh}).json()
    assert api.get("me", token=pair["access"]).status_code == 200


def test_id_that_another_tenant_has_put_in_does_not_keep_a_token_alive(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    """Mallory has SQL as the app's role, and has heard the `jti` of Ada's token."""
    jti = unpack(ada.access)[1]["jti"]
    with tenant_scope(bob.id):
        BlacklistedToken.objects.create(id=jti, creator_id=bob.id, expires_at=timezone.now())
    tablet = sign_in(Person(ada.id, ada.email))
    assert api.post("logout", {"refresh": tablet.refresh}, token=ada.access).status_code == 204
    assert api.get("me", token=ada.access).status_code == 401
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist WHERE id = %s", [jti]).fetchone() == (2,)


def test_second_sign_out_is_as_good_as_the_first(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    for _ in range(3):
        assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204
    assert events(superuser, of=ada.id).count("session.ended") == 1


def test_sign_out_works_with_a_spent_refresh_token(api: API, ada: Person) -> None:
    pair = api.post("refresh", {"refresh": ada.refresh}).json()
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert api.post("refresh", {"refresh": pair["refresh"]}).status_code == 401
    assert api.get("me", token=pair["access"]).status_code == 401


@pytest.mark.parametrize("dead", ["rubbish", "a.b.c", "", "é".encode().decode("latin-1")])
def test_dead_bearer_is_ignored(api: API, ada: Person, dead: str) -> None:
    headers = {"Authorization": f"Bearer {dead}"}
    assert api.post("logout", {"refresh": ada.refresh}, **headers).status_code == 204


def test_expired_bearer_is_ignored(api: API, ada: Person, bob: Person) -> None:
    for access in (claims_with(exp=1)(ada.access), claims_with(exp=1)(bob.access)):
        assert api.post("logout", {"refresh": ada.refresh}, token=access).status_code == 204


def end_session_of(api: API, bob: Person, _: psycopg.Connection) -> None:
    assert api.post("logout", {"refresh": bob.refresh}).status_code == 204


def blacklist_token_of(api: API, bob: Person, _: psycopg.Connection) -> None:
    tablet = sign_in(Person(bob.id, bob.email))
    assert api.post("logout", {"refresh": tablet.refresh}, token=bob.access).status_code == 204


def delete_account_of(api: API, bob: Person, _: psycopg.Connection) -> None:
    assert api.post("me/delete", {"password": bob.password}, token=bob.access).status_code == 204


def deactivate(_: API, bob: Person, superuser: psycopg.Connection) -> None:
    superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [bob.id])


@pytest.mark.parametrize("die", [end_session_of, blacklist_token_of, delete_account_of, deactivate])
def test_bearer_of_another_that_is_dead_is_ignored(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection, die: Any
) -> None:
    die(api, bob, superuser)
    assert api.get("me", token=bob.access).status_code == 401
    assert api.post("logout", {"refresh": ada.refresh}, token=bob.access).status_code == 204
    assert is_in(api, ada) == (401, 401)


def test_nobody_signs_out_another_tenant(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    response = api.post("logout", {"refresh": bob.refresh}, token=ada.access)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert api.get("me", token=bob.access).status_code == 200
    assert api.get("me", token=ada.access).status_code == 200
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist").fetchone() == (0,)
    assert "session.ended" not in events(superuser)


def test_other_devices_stay_signed_in(api: API, ada: Person) -> None:
    tablet = sign_in(Person(ada.id, ada.email))
    api.post("logout", {"refresh": ada.refresh})
    assert is_in(api, tablet) == (200, 200)


def test_sign_out_everywhere_ends_every_session_at_once(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    tablet = sign_in(Person(ada.id, ada.email))
    refreshed = api.post("refresh", {"refresh": tablet.refresh}).json()
    response = api.post("logout/all", token=ada.access)
    assert (response.status_code, response.content) == (204, b"")
    assert is_in(api, ada) == (401, 401)
    assert is_in(api, tablet) == (401, 401)
    assert api.get("me", token=refreshed["access"]).status_code == 401
    assert is_in(api, bob) == (200, 200)
    assert events(superuser, of=ada.id).count("sessions.ended") == 1


@pytest.mark.parametrize("token", ["", "rubbish"])
def test_sign_out_everywhere_needs_a_bearer(api: API, ada: Person, token: str) -> None:
    response = api.post("logout/all", token=token)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert api.get("me", token=ada.access).status_code == 200


def test_sign_outs_at_once_are_recorded_once(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    def act(_: int) -> int:
        body = {"refresh": ada.refresh}
        return int(API(raise_request_exception=False).post("logout", body, token=ada.access).status_code)

    assert all_at_once(10, act) == [204] * 10
    assert events(superuser, of=ada.id).count("session.ended") == 1


def test_sign_out_of_a_deactivated_creator_is_quiet(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    superuser.execute("UPDATE creators SET is_active = false")
    assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204


def test_bodies_without_a_token_are_refused_by_name(api: API, ada: Person) -> None:
    bodies: list[Any] = [{}, {"refresh": ""}, {"refresh": None}, {"refresh": [ada.refresh]}, {"token": "x"}]
    for body in bodies:
        response = api.post("logout", body, token=ada.access)
        assert response.status_code == 400
        assert [one["field"] for one in response.json()["errors"]] == ["refresh"]
    assert api.get("me", token=ada.access).status_code == 200
