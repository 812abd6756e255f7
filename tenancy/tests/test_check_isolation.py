"""`check_isolation` names each planted fault. Uses its own cluster, because roles belong to the cluster."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from config.launcher.postgres.cluster import EmbeddedPostgres
from tenancy.roles import Roles

pytestmark = pytest.mark.no_database

ROOT = Path(__file__).resolve().parents[2]
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB"}
ROLES = Roles.of("shop")
MIGRATED = "shop"
VERBS = [
    "count", "read", "lock", "insert", "update", "delete", "reassign", "upsert", "reference session_id",
    "reference parent_id",
]  # fmt: skip

FAULTS = {
    # roles
    "ALTER ROLE shop_app BYPASSRLS": [
        "role shop_app has BYPASSRLS",
        "table sessions allows insert with no setting",
        "read as another tenant",
        "insert as another tenant",
    ],
    "ALTER ROLE shop_app SUPERUSER": ["role shop_app is a superuser", "table creators allows insert with no setting"],
    "GRANT shop_operator TO shop_app": ["role shop_app is a member of another role"],
    "ALTER ROLE shop_operator BYPASSRLS": ["role shop_operator has BYPASSRLS"],
    "ALTER ROLE shop_lookup LOGIN": ["role shop_lookup may log in"],
    # tables and policies
    "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY": [
        "table sessions: row-level security is not enabled",
        "table sessions allows insert with no setting, count as another tenant",
        "read as another tenant",
    ],
    "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY": ["table sessions: row-level security is not forced"],
    "ALTER TABLE user_sessions OWNER TO shop_app": ["role shop_app owns tables"],
    "DROP POLICY user_sessions_tenant ON user_sessions": [
        "policy user_sessions_tenant is missing",
        "table user_sessions is inconclusive: a tenant cannot insert its own row",
    ],
    "ALTER POLICY user_sessions_tenant ON user_sessions USING (true) WITH CHECK (true)": [
        "table user_sessions: policy user_sessions_tenant differs from its declaration",
        "table user_sessions allows insert with no setting, count as another tenant, "
        "read as another tenant, lock as another tenant, update as another tenant, delete as another tenant, "
        "insert as another tenant, reassign as another tenant, upsert as another tenant",
    ],
    "CREATE POLICY more ON sessions FOR SELECT TO shop_app USING (true)": [
        "policy more is not declared", "table sessions allows count as another tenant, read as another tenant",
    ],
    "DROP POLICY creators_no_staff ON creators": ["table creators: policy creators_no_staff is missing"],
    "ALTER POLICY creators_no_staff ON creators USING (true)": [
        "table creators: policy creators_no_staff differs from its declaration"
    ],
    "ALTER TABLE audit_logs_other DISABLE ROW LEVEL SECURITY": [
        "partition audit_logs_other: row-level security is not enabled and forced"
    ],
    "CREATE TABLE notes (id int, creator_id uuid)": [
        "table notes has the column creator_id but is not declared as a tenant table"
    ],
    "CREATE SCHEMA more; CREATE TABLE more.notes (creator_id uuid)": ["table more.notes has the column creator_id"],
    "ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session, ADD CONSTRAINT refresh_tokens_session "
    "FOREIGN KEY (session_id) REFERENCES sessions (id)": [
        "table refresh_tokens: foreign key refresh_tokens_session to sessions lacks the tenant column",
        "table refresh_tokens allows reference session_id as another tenant",
    ],
    "ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session": [
        "table refresh_tokens allows reference session_id as another tenant"
    ],
    # privileges
    "GRANT UPDATE (is_staff) ON creators TO shop_app": ["role shop_app has UPDATE (is_staff)"],
    "GRANT SELECT ON django_session TO shop_app": ["table django_session: role shop_app has SELECT"],
    "GRANT TRUNCATE ON sessions TO PUBLIC": ["table sessions: role PUBLIC has TRUNCATE"],
    "GRANT SELECT ON audit_logs_other TO shop_app": ["table audit_logs_other: role shop_app has SELECT"],
    "REVOKE INSERT ON sessions FROM shop_app": ["table sessions: role shop_app lacks INSERT"],
    "GRANT CREATE ON SCHEMA public TO shop_app": ["role shop_app has CREATE on schema public"],
    "GRANT TEMPORARY ON DATABASE shop TO PUBLIC": ["role shop_app has TEMPORARY on the database"],
    "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT SELECT ON TABLES TO shop_app": [
        "default privileges give shop_app SELECT"
    ],
    "GRANT EXECUTE ON FUNCTION pg_stat_get_activity(integer) TO PUBLIC": [
        "role shop_app can read the statements of its other sessions with pg_stat_get_activity"
    ],
    "ALTER ROLE shop_app SET app.current_creator_id = '6f2c1f5e-1f0c-4a3e-9f57-6c0f3f1d2b3a'": [
        "role shop_app has a default for app.current_creator_id"
    ],
    "ALTER ROLE shop_app SET lock_timeout = 0": ["role shop_app has the default lock_timeout = 0"],
    "GRANT EXECUTE ON FUNCTION lo_create(oid), pg_advisory_lock(bigint) TO PUBLIC": [
        "role shop_app may execute lo_create", "role shop_app may execute pg_advisory_lock",
        "may create a large object",
    ],
    "GRANT EXECUTE ON FUNCTION pg_try_advisory_xact_lock(bigint) TO shop_app": ["may take an advisory lock"],
    "GRANT DELETE ON audit_personal_data TO shop_app": ["role shop_app may erase personal data"],
    "GRANT INSERT ON login_reservations TO shop_app": [
        "role shop_app may unlock an operator", "may count an attempt in an operators' scope",
    ],
    "GRANT UPDATE (attempts) ON lockout_limits TO shop_app": ["may change the limits of the lockout"],
    # functions and views
    "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM creators'": [
        "function peek() is SECURITY DEFINER and not declared"
    ],
    "ALTER FUNCTION find_creator(text) OWNER TO postgres": ["its owner bypasses RLS"],
    "ALTER FUNCTION find_creator(text) RESET ALL": ["function find_creator(text) is SECURITY DEFINER without SET"],
    "GRANT EXECUTE ON FUNCTION find_creator(text) TO PUBLIC": ["find_creator(text) may be executed by PUBLIC"],
    "GRANT EXECUTE ON FUNCTION audit_ensure_partitions(integer) TO shop_app": [
        "function audit_ensure_partitions(integer) may be executed by shop_app"
    ],
    "CREATE FUNCTION sly(text) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true'": [
        "function sly(text) is LEAKPROOF"
    ],
    "CREATE VIEW everyone AS SELECT * FROM creators": ["view everyone lacks security_invoker"],
    "CREATE MATERIALIZED VIEW everyone AS SELECT * FROM creators": ["view everyone is materialized"],
}  # fmt: skip
HARMLESS = [
    "CREATE VIEW mine WITH (security_invoker) AS SELECT * FROM creators",
    "CREATE TABLE notes (id int, author uuid)",
    "CREATE ROLE analyst; GRANT SELECT ON sessions TO analyst",
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A server with a migrated database."""
    directory = Path(tempfile.mkdtemp(prefix="auth-test-"))
    directory.chmod(0o711)
    with EmbeddedPostgres(directory / "postgres", settings=FAST) as server:
        server.ensure_database(MIGRATED, ROLES)
        result = manage(server, MIGRATED, "migrate", "--verbosity=0")
        assert result.returncode == 0, result.stderr
        yield server
    shutil.rmtree(directory)


class OneTransaction(DatabaseWrapper):
    """A superuser's connection. The test and the command share its transaction, which is never committed."""

    def copy(self, alias: str | None = None) -> "OneTransaction":
        return self

    def set_autocommit(self, *_: Any, **__: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def transaction(cluster: EmbeddedPostgres, settings: Any, django_db_blocker: Any) -> Iterator[OneTransaction]:
    settings.TENANT_ROLES = ROLES
    url = urlsplit(cluster.superuser_url(MIGRATED))
    server = {"HOST": unquote(str(url.hostname)), "USER": url.username, "PASSWORD": url.password}
    connection = OneTransaction({**connections.settings["default"], **server, "NAME": MIGRATED}, "default")
    with django_db_blocker.unblock():
        original, connections["default"] = connections["default"], connection
        DatabaseWrapper.set_autocommit(connection, autocommit=False)
        yield connection
        connections["default"] = original
        DatabaseWrapper.close(connection)


def execute(connection: OneTransaction, statement: str) -> None:
    connection.ensure_connection()
    connection.connection.execute(statement)  # without the guard


def failures(connection: OneTransaction) -> str:
    """The failures that the command prints as the app role."""
    execute(connection, "SET SESSION AUTHORIZATION shop_app")
    output = StringIO()
    try:
        call_command("check_isolation", stdout=output)
    except CommandError as error:
        assert "Tenants are not isolated" in str(error)  # noqa: PT017
    return "\n".join(line for line in output.getvalue().splitlines() if line.startswith("FAIL"))


def manage(server: EmbeddedPostgres, database: str, *arguments: str, **variables: str) -> Any:
    environment = os.environ | {
        "DATABASE_URL": server.url(ROLES.app, database),
        "OPERATOR_DATABASE_URL": server.url(ROLES.operator, database),
        "OWNER_DATABASE_URL": server.url(ROLES.owner, database),
        **variables,
    }
    command = [sys.executable, "-W", "ignore", "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_migrated_empty_database_passes_and_stays_empty(cluster: EmbeddedPostgres) -> None:
    before = row_counts(cluster)
    result = manage(cluster, MIGRATED, "check_isolation", OPERATOR_DATABASE_URL="", OWNER_DATABASE_URL="")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "Tenants are isolated."
    assert all(line.startswith("ok ") for line in lines[:-1])
    (refresh,) = (line for line in lines if "table refresh_tokens" in line)
    assert [verb for verb in VERBS if verb not in refresh] == []
    assert row_counts(cluster) == before


def row_counts(cluster: EmbeddedPostgres) -> list[Any]:
    with psycopg.connect(cluster.superuser_url(MIGRATED)) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                                    "AND relkind = 'r' ORDER BY 1").fetchall()  # fmt: skip
        return [connection.execute(f"SELECT '{table}', count(*) FROM {table}".encode()).fetchone()
                for (table,) in tables]  # fmt: skip


def test_harmless_changes_are_not_reported(transaction: OneTransaction) -> None:
    for statement in HARMLESS:
        execute(transaction, statement)
    assert failures(transaction) == ""


def test_visible_existing_rows_are_reported(transaction: OneTransaction) -> None:
    execute(transaction, "INSERT INTO audit_personal_data (id, creator_id, salt, user_agent, email) "
                         "VALUES (gen_random_uuid(), gen_random_uuid(), '', '', 'ada@example.com')")  # fmt: skip
    assert failures(transaction) == ""
    execute(transaction, "RESET SESSION AUTHORIZATION")
    execute(transaction, "ALTER TABLE audit_personal_data DISABLE ROW LEVEL SECURITY")
    assert "table audit_personal_data allows count with no setting" in failures(transaction)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(fault: str, transaction: OneTransaction) -> None:
    execute(transaction, fault)
    output = failures(transaction)
    assert [message for message in FAULTS[fault] if message not in output] == [], output


def test_fault_makes_the_command_exit_with_1(cluster: EmbeddedPostgres) -> None:
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as superuser:
        superuser.execute("ALTER ROLE shop_app BYPASSRLS")
        result = manage(cluster, MIGRATED, "check_isolation")
        superuser.execute("ALTER ROLE shop_app NOBYPASSRLS")
    assert result.returncode == 1
    assert "FAIL  role shop_app has BYPASSRLS" in result.stdout
    assert "Tenants are not isolated" in result.stderr


def test_missing_database_is_a_one_line_error(cluster: EmbeddedPostgres) -> None:
    result = manage(cluster, "nowhere", "check_isolation")
    assert result.returncode == 1
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr
