"""Signing out: one session, all sessions, twice, and never another tenant's."""

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


def statuses_of(api: API, person: Person) -> tuple[int, int]:
    """The statuses for the access token and the refresh token."""
    return (
        api.get("me", token=person.access).status_code,
        api.post("refresh", {"refresh": person.refresh}).status_code,
    )


def test_sign_out_ends_the_session_and_both_tokens(api: API, ada: Person) -> None:
    response = api.post("logout", {"refresh": ada.refresh}, token=ada.access)
    assert (response.status_code, response.content) == (204, b"")
    assert statuses_of(api, ada) == (401, 401)


def test_sign_out_needs_only_the_refresh_token(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert statuses_of(api, ada) == (401, 401)
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist").fetchone() == (0,)


def test_access_token_in_the_header_is_blacklisted(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    tablet = sign_in(Person(ada.id, ada.email))
    assert api.post("logout", {"refresh": tablet.refresh}, token=ada.access).status_code == 204
    assert api.get("me", token=ada.access).status_code == 401
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist").fetchone() == (1,)
    # its session has not ended
    pair = api.post("refresh", {"refresh": ada.refresh}).json()
    assert api.get("me", token=pair["access"]).status_code == 200


def test_token_id_inserted_by_another_tenant_does_not_prevent_blacklisting(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    """Mallory can run SQL as the app role, and knows the `jti` of Ada's token."""
    jti = unpack(ada.access)[1]["jti"]
    with tenant_scope(bob.id):
        BlacklistedToken.objects.create(id=jti, creator_id=bob.id, expires_at=timezone.now())
    tablet = sign_in(Person(ada.id, ada.email))
    assert api.post("logout", {"refresh": tablet.refresh}, token=ada.access).status_code == 204
    assert api.get("me", token=ada.access).status_code == 401
    assert superuser.execute("SELECT count(*) FROM jwt_blacklist WHERE id = %s", [jti]).fetchone() == (2,)


def test_sign_out_is_idempotent(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    for _ in range(3):
        assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204
    assert events(superuser, of=ada.id).count("session.ended") == 1


def test_sign_out_works_with_a_rotated_refresh_token(api: API, ada: Person) -> None:
    pair = api.post("refresh", {"refresh": ada.refresh}).json()
    assert api.post("logout", {"refresh": ada.refresh}).status_code == 204
    assert api.post("refresh", {"refresh": pair["refresh"]}).status_code == 401
    assert api.get("me", token=pair["access"]).status_code == 401


@pytest.mark.parametrize("bearer", ["rubbish", "a.b.c", "", "é".encode().decode("latin-1")])
def test_invalid_bearer_is_ignored(api: API, ada: Person, bearer: str) -> None:
    headers = {"Authorization": f"Bearer {bearer}"}
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


@pytest.mark.parametrize("invalidate", [end_session_of, blacklist_token_of, delete_account_of, deactivate])
def test_invalid_bearer_of_another_tenant_is_ignored(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection, invalidate: Any
) -> None:
    invalidate(api, bob, superuser)
    assert api.get("me", token=bob.access).status_code == 401
    assert api.post("logout", {"refresh": ada.refresh}, token=bob.access).status_code == 204
    assert statuses_of(api, ada) == (401, 401)


def test_other_tenant_cannot_be_signed_out(
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
    assert statuses_of(api, tablet) == (200, 200)


def test_sign_out_everywhere_ends_all_sessions(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    tablet = sign_in(Person(ada.id, ada.email))
    refreshed = api.post("refresh", {"refresh": tablet.refresh}).json()
    response = api.post("logout/all", token=ada.access)
    assert (response.status_code, response.content) == (204, b"")
    assert statuses_of(api, ada) == (401, 401)
    assert statuses_of(api, tablet) == (401, 401)
    assert api.get("me", token=refreshed["access"]).status_code == 401
    assert statuses_of(api, bob) == (200, 200)
    assert events(superuser, of=ada.id).count("sessions.ended") == 1


@pytest.mark.parametrize("token", ["", "rubbish"])
def test_sign_out_everywhere_needs_a_bearer(api: API, ada: Person, token: str) -> None:
    response = api.post("logout/all", token=token)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert api.get("me", token=ada.access).status_code == 200


def test_concurrent_sign_outs_are_recorded_once(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    def sign_out(_: int) -> int:
        body = {"refresh": ada.refresh}
        return int(API(raise_request_exception=False).post("logout", body, token=ada.access).status_code)

    assert all_at_once(10, sign_out) == [204] * 10
    assert events(superuser, of=ada.id).count("session.ended") == 1


def test_deactivated_creator_can_sign_out(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    superuser.execute("UPDATE creators SET is_active = false")
    assert api.post("logout", {"refresh": ada.refresh}, token=ada.access).status_code == 204


def test_body_without_a_token_is_refused(api: API, ada: Person) -> None:
    bodies: list[Any] = [{}, {"refresh": ""}, {"refresh": None}, {"refresh": [ada.refresh]}, {"token": "x"}]
    for body in bodies:
        response = api.post("logout", body, token=ada.access)
        assert response.status_code == 400
        assert [error["field"] for error in response.json()["errors"]] == ["refresh"]
    assert api.get("me", token=ada.access).status_code == 200
