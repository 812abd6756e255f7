"""A backup that is restored into another cluster has the same rows, grants and RLS policies."""

import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.files import find_bin_directory
from config.launcher.postgres.system_user import server_user
from config.tests.support.consistency_load import Account, insert_creators
from config.tests.support.environment import FAST, ROLES
from config.tests.support.external_servers import Env, manage, own_postgres
from config.tests.support.live_server import NO_LIMITS, run_server

pytestmark = [pytest.mark.slow, pytest.mark.no_database]
URL = {"PUBLIC_URL": "http://127.0.0.1:8000"}  # the issuer of the tokens


def run(server: EmbeddedPostgres, program: str, *words: str | Path) -> None:
    path = find_bin_directory(server_user(server.data, lambda _line: None), lambda _line: None) / program
    result = subprocess.run([path, *words], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def contents(server: EmbeddedPostgres) -> dict[str, Any]:
    """The policies, and of each table its RLS flags, grants and rows."""
    tables = (
        "SELECT oid::regclass::text, relrowsecurity, relforcerowsecurity, relacl::text FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1"
    )
    policies = "SELECT tablename, policyname, roles::text, qual, with_check FROM pg_policies ORDER BY 1, 2"
    with psycopg.connect(server.superuser_url("auth")) as connection:
        found: dict[str, Any] = {"policies": connection.execute(policies.encode()).fetchall()}
        for name, *protection in connection.execute(tables.encode()).fetchall():
            rows = connection.execute(
                f"SELECT to_jsonb(t)::text FROM {name} t ORDER BY 1".encode()
            ).fetchall()
            found[name] = (protection, rows)
    return found


def test_restored_backup_equals_the_original(tmp_path: Path) -> None:
    dump = tmp_path / "accounts.dump"
    with own_postgres(tmp_path / "old", **FAST) as (old, env):
        with psycopg.connect(old.superuser_url("auth"), autocommit=True) as superuser:
            account = insert_creators(superuser, 3)[0]
        tokens = sign_in(tmp_path, env, account)
        run(old, "pg_dump", "--format=custom", "--file", dump, old.superuser_url("auth"))
        before = contents(old)
    with EmbeddedPostgres(tmp_path / "new" / "postgres", settings=FAST) as new:
        new.ensure_database("auth", ROLES)  # as `role_sql` does
        run(new, "pg_restore", "--exit-on-error", "--dbname", new.superuser_url("auth"), dump)
        assert contents(new) == before
        env = {"DATABASE_URL": new.url(ROLES.app), "OPERATOR_DATABASE_URL": new.url(ROLES.operator)}
        for command in (("migrate",), ("check", "--database", "default"), ("check_isolation",)):
            result = manage(*command, **env)
            assert result.returncode == 0, result.stdout + result.stderr
        with run_server(tmp_path, workers=1, **NO_LIMITS, **URL, **env) as served:
            assert served.call("GET", "me", token=tokens["access"]).json()["email"] == account.email
            assert served.post("refresh", {"refresh": tokens["refresh"]}).status == 200
            with psycopg.connect(new.superuser_url("auth"), autocommit=True) as superuser:
                superuser.execute("DELETE FROM sessions")
            assert served.call("GET", "me", token=tokens["access"]).status == 401


def sign_in(directory: Path, env: Env, account: Account) -> Any:
    with run_server(directory, workers=1, **NO_LIMITS, **URL, **env) as served:
        return served.post("login", {"email": account.email, "password": account.password}).json()
