"""`manage.py smoke` passes on a healthy service and names each fault."""

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
# short windows, so that the smoke test need not wait for them
RATES = {f"RATE_LIMIT_{scope.upper()}": "4/s" for scope in settings.RATE_LIMITS}
CHECKS = 25
Faults = dict[str, str]
Smoke = Callable[..., Faults]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, Env]]:
    data_dir = tmp_path_factory.mktemp("smoke")
    with own_postgres(data_dir, **FAST) as (server, urls):
        yield server, urls | RATES | {"DATA_DIR": str(data_dir), "LOG_LEVEL": "ERROR"}


@pytest.fixture
def superuser(cluster: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster[0].superuser_url("auth"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def smoke(cluster: Any, tmp_path: Path) -> Smoke:
    """Runs it against a live service; returns the faults by check. `smoke_env` is only for the command."""

    def run(
        after_start: Callable[[], object] = lambda: None, smoke_env: Env | None = None, **env: str
    ) -> Faults:
        with launched_service(tmp_path, **cluster[1] | env) as url:
            after_start()
            done = manage("smoke", "--json", PUBLIC_URL=url, **cluster[1] | (smoke_env or {}))
        report = json.loads(done.stdout)
        assert report["ok"] == (done.returncode == 0)
        assert len(report["checks"]) == CHECKS
        return {check["check"]: check["fault"] for check in report["checks"] if not check["ok"]}

    return run


def test_healthy_service_passes_and_no_row_remains(smoke: Smoke, superuser: psycopg.Connection) -> None:
    assert smoke() == {}
    tables = ("creators", "sessions", "user_sessions", "api_keys", "axes_accessattempt", "login_reservations")
    remaining = {table: superuser.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables}
    assert remaining == dict.fromkeys(tables, (0,))
    jobs = "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE args_kwargs::text LIKE '%smoke%'"
    assert superuser.execute(jobs).fetchone() == (0,)


def test_role_with_bypassrls_and_missing_limit_are_reported(
    smoke: Smoke, superuser: psycopg.Connection
) -> None:
    superuser.execute(f"ALTER ROLE {ROLES.app} BYPASSRLS")
    try:
        faults = smoke(RATE_LIMIT_REFRESH="1000000/m")
    finally:
        superuser.execute(f"ALTER ROLE {ROLES.app} NOBYPASSRLS")
    assert faults["the app role cannot bypass RLS"] == "role auth_app has BYPASSRLS"
    assert "table creators" in faults["tenants are isolated"]
    assert faults["rate limits are enforced"].startswith("the rate limit of refresh is off: ")


def test_dropped_policy_lost_key_and_high_limit_are_reported(
    smoke: Smoke, superuser: psycopg.Connection
) -> None:
    name = "user_sessions_tenant"
    policy = superuser.execute("SELECT qual FROM pg_policies WHERE policyname = %s", [name]).fetchone()
    assert policy

    def lose_keys() -> None:  # the worker makes a new one at its start and in its next maintenance
        superuser.execute("UPDATE signing_keys SET private_key = 'locked under another SECRET_KEY'")

    superuser.execute(f"DROP POLICY {name} ON user_sessions")
    try:
        faults = smoke(after_start=lose_keys, smoke_env={"RATE_LIMIT_LOGIN": "1000000/m"})
    finally:
        superuser.execute(
            f"CREATE POLICY {name} ON user_sessions TO {ROLES.app} USING ({policy[0]}) WITH CHECK ({policy[0]})"
        )
    assert f"policy {name} is missing" in faults["tables, policies and grants are as declared"]
    assert "there is no valid signing key" in faults["the signing key is valid and published"]
    assert "login is 1000000/m, which is too high" in faults["rate limits are enforced"]


def test_text_output(cluster: Any) -> None:
    done = manage("smoke", "--base-url", "http://127.0.0.1:9", **cluster[1])
    assert done.returncode == 1
    assert "FAIL  the service is alive and ready: GET /healthz: no response (ConnectError)" in done.stdout
    assert "ok    the app role cannot bypass RLS" in done.stdout
    assert "checks failed" in done.stderr
