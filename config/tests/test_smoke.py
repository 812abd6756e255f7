"""`manage.py smoke` passes where all is well, and names the fault where it is not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from config.launcher.postgres.cluster import EmbeddedPostgres
from config.tests.support.environment import FAST, ROLES
from config.tests.support.external_servers import Env, manage, own_postgres
from config.tests.support.launched_service import launched_service

pytestmark = [pytest.mark.slow, pytest.mark.no_database]
# low limits in windows of a second
RATES = {f"RATE_LIMIT_{scope.upper()}": "4/s" for scope in settings.RATE_LIMITS}
CHECKS = 25
Faults = dict[str, str]
Smoke = Callable[..., Faults]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, Env]]:
    place = tmp_path_factory.mktemp("smoke")
    with own_postgres(place, **FAST) as (server, urls):
        yield (
            server,
            urls | RATES | {"DATA_DIR": str(place), "LOG_LEVEL": "ERROR"},
        )


@pytest.fixture
def superuser(cluster: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster[0].superuser_url("auth"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def smoke(cluster: Any, tmp_path: Path) -> Smoke:
    """Run it against a live service, whose settings may be others than it believes; faults by check."""

    def run(
        meanwhile: Callable[[], object] = lambda: None, believes: Env | None = None, **env: str
    ) -> Faults:
        with launched_service(tmp_path, **cluster[1] | env) as url:
            meanwhile()
            done = manage("smoke", "--json", PUBLIC_URL=url, **cluster[1] | (believes or {}))
        told = json.loads(done.stdout)
        assert told["ok"] == (done.returncode == 0)
        assert len(told["checks"]) == CHECKS
        return {one["check"]: one["fault"] for one in told["checks"] if not one["ok"]}

    return run


def test_all_is_well_and_nothing_stays(smoke: Smoke, superuser: psycopg.Connection) -> None:
    assert smoke() == {}
    tables = ("creators", "sessions", "user_sessions", "api_keys", "axes_accessattempt", "login_reservations")
    left = {table: superuser.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables}
    assert left == dict.fromkeys(tables, (0,))
    jobs = "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE args_kwargs::text LIKE '%smoke%'"
    assert superuser.execute(jobs).fetchone() == (0,)


def test_a_role_above_the_walls_and_a_door_that_does_not_count_are_named(
    smoke: Smoke, superuser: psycopg.Connection
) -> None:
    superuser.execute(f"ALTER ROLE {ROLES.app} BYPASSRLS")
    try:
        faults = smoke(RATE_LIMIT_REFRESH="1000000/m")
    finally:
        superuser.execute(f"ALTER ROLE {ROLES.app} NOBYPASSRLS")
    assert faults["the application's role is bound by the walls"] == "role auth_app has BYPASSRLS"
    assert "table creators" in faults["no row crosses a wall"]
    assert faults["every door counts its callers"].startswith("the rate limit of refresh is off: ")


def test_a_dropped_policy_a_lost_key_and_a_limit_without_end_are_named(
    smoke: Smoke, superuser: psycopg.Connection
) -> None:
    name = "user_sessions_tenant"
    found = superuser.execute("SELECT qual FROM pg_policies WHERE policyname = %s", [name]).fetchone()
    assert found

    def lose_keys() -> None:  # the worker would make a new one at its start, and does with its next chores
        superuser.execute("UPDATE signing_keys SET private_key = 'locked under another SECRET_KEY'")

    superuser.execute(f"DROP POLICY {name} ON user_sessions")
    try:
        faults = smoke(meanwhile=lose_keys, believes={"RATE_LIMIT_LOGIN": "1000000/m"})
    finally:
        superuser.execute(
            f"CREATE POLICY {name} ON user_sessions TO {ROLES.app} USING ({found[0]}) WITH CHECK ({found[0]})"
        )
    assert f"policy {name} is missing" in faults["tables, policies and grants are as declared"]
    assert "no valid signing key is left" in faults["a valid key signs, and is published"]
    assert "login is 1000000/m: as good as off" in faults["every door counts its callers"]


def test_lines_for_people(cluster: Any) -> None:
    done = manage("smoke", "--base-url", "http://127.0.0.1:9", **cluster[1])
    assert done.returncode == 1
    assert "FAIL  the service is alive and ready: GET /healthz: no answer (ConnectError)" in done.stdout
    assert "ok    the application's role is bound by the walls" in done.stdout
    assert "checks failed" in done.stderr
