"""The lockout functions bound scope and limits themselves. Mallory connects as the app role."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from accounts.services import lockout
from accounts.tests.support.flows import attempt
from config.tests.support.accounts import Person, no_lockout
from config.tests.support.client import API
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, using_alias

OLGA = "olga@example.com"


@pytest.fixture
def mallory(transactional_db: None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        yield app


def reserve(
    app: psycopg.Connection,
    email: str,
    *,
    scope: str = "api",
    most: int = 5,
    lock: str = "30 min",
    lease: str = "20 s",
) -> tuple[str, UUID]:
    """The result, and the id of the reservation."""
    reservation = uuid4()
    call = "SELECT verdict FROM lockout_reserve(%s, %s, %s, %s, %s::interval, %s::interval)"
    (verdict,) = app.execute(call, [scope, email, reservation, most, lock, lease]).fetchone() or ("",)
    return verdict, reservation


def finish(
    app: psycopg.Connection, email: str, reservation: UUID, *, failed: bool, scope: str = "api"
) -> Any:
    return app.execute(
        "SELECT lockout_finish(%s, %s, %s, %s)", [scope, email, reservation, failed]
    ).fetchone()


def failures(superuser: psycopg.Connection, email: str) -> int:
    query = "SELECT coalesce(max(failures_since_start), 0) FROM axes_accessattempt WHERE username = %s"
    (count,) = superuser.execute(query, [email]).fetchone() or (0,)
    return int(count)


def lock(api: API, email: str) -> None:
    for _ in range(5):
        attempt(api, email, "wrong")


def as_tenant(app: psycopg.Connection, creator_id: Any) -> None:
    app.execute("SELECT set_config('app.current_creator_id', %s, false)", [str(creator_id)])


@pytest.mark.parametrize("scope", ["admin", "second_factor", "", "API"])
def test_app_role_can_use_the_scope_of_the_api_only(mallory: psycopg.Connection, scope: str) -> None:
    for act in (
        lambda: reserve(mallory, OLGA, scope=scope),
        lambda: finish(mallory, OLGA, uuid4(), failed=True, scope=scope),
        lambda: mallory.execute("SELECT lockout_unlock(%s, %s)", [scope, OLGA]),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            act()


@pytest.mark.parametrize("scope", ["admin", "second_factor"])
def test_app_role_cannot_release_an_operators_reservation(
    mallory: psycopg.Connection, superuser: psycopg.Connection, scope: str
) -> None:
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as operator:
        verdict, reservation = reserve(operator, OLGA, scope=scope)
    assert verdict == "go"
    mallory.execute("SELECT lockout_release(%s)", [reservation])
    assert superuser.execute("SELECT id FROM login_reservations").fetchall() == [(reservation,)]


@pytest.mark.parametrize("time", ["-1 day", "0 s", "1 s", "29 min"])
def test_app_role_cannot_shorten_a_lock(
    api: API, ada: Person, mallory: psycopg.Connection, superuser: psycopg.Connection, time: str
) -> None:
    lock(api, ada.email)
    superuser.execute("UPDATE axes_accessattempt SET attempt_time = attempt_time - interval '29 minutes'")
    assert reserve(mallory, ada.email, lock=time)[0] == "locked"
    assert failures(superuser, ada.email) == 5


def test_app_role_cannot_raise_the_limit(api: API, ada: Person, mallory: psycopg.Connection) -> None:
    lock(api, ada.email)
    assert reserve(mallory, ada.email, most=100)[0] == "locked"
    assert attempt(api, ada.email, ada.password) == (429, "account_locked")


def test_no_reservation_lasts_longer_than_twenty_seconds(
    mallory: psycopg.Connection, superuser: psycopg.Connection, ada: Person
) -> None:
    for _ in range(5):
        assert reserve(mallory, ada.email, lease="1 year")[0] == "go"
    left = superuser.execute(
        "SELECT count(*) FROM login_reservations WHERE expires_at > now() + interval '21 s'"
    )
    assert left.fetchone() == (0,)


def test_reservation_is_for_one_address(
    api: API, ada: Person, mallory: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    attempt(api, ada.email, "wrong")
    for failed in (True, False):
        _, reservation = reserve(mallory, "mallory@example.com")
        assert finish(mallory, ada.email, reservation, failed=failed) == (None,)
    assert failures(superuser, ada.email) == 1


def test_app_role_cannot_unlock_another_account(
    api: API, ada: Person, bob: Person, mallory: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    lock(api, bob.email)
    for tenant in (ada.id, ""):
        as_tenant(mallory, tenant)
        mallory.execute("SELECT lockout_unlock('api', %s)", [bob.email])
    assert failures(superuser, bob.email) == 5
    as_tenant(mallory, bob.id)  # as a finished reset does
    mallory.execute("SELECT lockout_unlock('api', %s)", [bob.email])
    assert failures(superuser, bob.email) == 0


def test_stricter_settings_apply_at_once(api: API, ada: Person, settings: Any) -> None:
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 2
    settings.ACCOUNT_LOCKOUT_DURATION = timedelta(hours=2)
    assert [attempt(api, ada.email, "wrong")[0] for _ in range(3)] == [401, 401, 429]
    response = api.post("login", {"email": ada.email, "password": ada.password})
    assert int(response["Retry-After"]) > 7000


def test_laxer_settings_apply_once_the_worker_has_them(
    api: API, ada: Person, settings: Any, superuser: psycopg.Connection
) -> None:
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 7
    settings.ACCOUNT_LOCKOUT_DURATION = timedelta(minutes=10)
    lock(api, ada.email)
    assert attempt(api, ada.email, "wrong")[0] == 429
    with using_alias(OPERATOR):
        lockout.store_limits()
    assert [attempt(api, ada.email, "wrong")[0] for _ in range(3)] == [401, 401, 429]
    superuser.execute("UPDATE axes_accessattempt SET attempt_time = attempt_time - interval '10 minutes'")
    assert attempt(api, ada.email, ada.password)[0] == 200


def test_high_limit_locks_no_account(api: API, ada: Person, settings: Any) -> None:
    no_lockout(settings)
    assert {attempt(api, ada.email, "wrong")[0] for _ in range(8)} == {401}
