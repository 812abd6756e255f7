"""`check_isolation` finds what is open, on a cluster of its own: roles are the whole cluster's."""

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
ROLES = Roles.of("house")
MIGRATED = "house"
VERBS = [
    "count", "read", "lock", "insert", "update", "delete", "move", "conflict", "link session_id", "link parent_id",
]  # fmt: skip

FAULTS = {
    # roles
    "ALTER ROLE house_app BYPASSRLS": [
        "role house_app has BYPASSRLS",
        "table sessions: insert with no setting",
        "read as another tenant",
        "insert as another tenant",
    ],
    "ALTER ROLE house_app SUPERUSER": ["role house_app is a superuser", "table creators: insert with no setting"],
    "GRANT house_operator TO house_app": ["role house_app is a member of another role"],
    "ALTER ROLE house_operator BYPASSRLS": ["role house_operator has BYPASSRLS"],
    "ALTER ROLE house_lookup LOGIN": ["role house_lookup may log in"],
    # tables and policies
    "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY": [
        "table sessions: row level security is not enabled",
        "table sessions: insert with no setting, count as another tenant",
        "read as another tenant",
    ],
    "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY": ["table sessions: row level security is not forced"],
    "ALTER TABLE user_sessions OWNER TO house_app": ["role house_app owns tables"],
    "DROP POLICY user_sessions_tenant ON user_sessions": [
        "policy user_sessions_tenant is missing",
        "table user_sessions: not proven: a tenant can't insert a row of its own",
    ],
    "ALTER POLICY user_sessions_tenant ON user_sessions USING (true) WITH CHECK (true)": [
        "table user_sessions: policy user_sessions_tenant is not as declared",
        "table user_sessions: insert with no setting, count as another tenant, "
        "read as another tenant, lock as another tenant, update as another tenant, delete as another tenant, "
        "insert as another tenant, move as another tenant, conflict as another tenant",
    ],
    "CREATE POLICY more ON sessions FOR SELECT TO house_app USING (true)": [
        "policy more is not declared", "table sessions: count as another tenant, read as another tenant",
    ],
    "DROP POLICY creators_no_staff ON creators": ["table creators: policy creators_no_staff is missing"],
    "ALTER POLICY creators_no_staff ON creators USING (true)": [
        "table creators: policy creators_no_staff is not as declared"
    ],
    "ALTER TABLE audit_logs_other DISABLE ROW LEVEL SECURITY": [
        "partition audit_logs_other: row level security is not enabled and forced"
    ],
    "CREATE TABLE notes (id int, creator_id uuid)": [
        "table notes carries creator_id and is not declared a tenant table"
    ],
    "CREATE SCHEMA more; CREATE TABLE more.notes (creator_id uuid)": ["table more.notes carries creator_id"],
    "ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session, ADD CONSTRAINT refresh_tokens_session "
    "FOREIGN KEY (session_id) REFERENCES sessions (id)": [
        "table refresh_tokens: reference refresh_tokens_session to sessions leaves the tenant out",
        "table refresh_tokens: link session_id as another tenant",
    ],
    "ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session": [
        "table refresh_tokens: link session_id as another tenant"
    ],
    # privileges
    "GRANT UPDATE (is_staff) ON creators TO house_app": ["role house_app holds UPDATE (is_staff)"],
    "GRANT SELECT ON django_session TO house_app": ["table django_session: role house_app holds SELECT"],
    "GRANT TRUNCATE ON sessions TO PUBLIC": ["table sessions: role PUBLIC holds TRUNCATE"],
    "GRANT SELECT ON audit_logs_other TO house_app": ["table audit_logs_other: role house_app holds SELECT"],
    "REVOKE INSERT ON sessions FROM house_app": ["table sessions: role house_app lacks INSERT"],
    "GRANT CREATE ON SCHEMA public TO house_app": ["role house_app holds CREATE on schema public"],
    "GRANT TEMPORARY ON DATABASE house TO PUBLIC": ["role house_app holds TEMPORARY on the database"],
    "ALTER DEFAULT PRIVILEGES FOR ROLE house_owner GRANT SELECT ON TABLES TO house_app": [
        "default privileges give house_app SELECT"
    ],
    "GRANT EXECUTE ON FUNCTION pg_stat_get_activity(integer) TO PUBLIC": [
        "role house_app reads the statements of its other sessions with pg_stat_get_activity"
    ],
    "ALTER ROLE house_app SET app.current_creator_id = '6f2c1f5e-1f0c-4a3e-9f57-6c0f3f1d2b3a'": [
        "role house_app presets app.current_creator_id"
    ],
    "ALTER ROLE house_app SET lock_timeout = 0": ["role house_app presets lock_timeout = 0"],
    "GRANT EXECUTE ON FUNCTION lo_create(oid), pg_advisory_lock(bigint) TO PUBLIC": [
        "role house_app may call lo_create", "role house_app may call pg_advisory_lock", "may create a large object",
    ],
    "GRANT EXECUTE ON FUNCTION pg_try_advisory_xact_lock(bigint) TO house_app": ["may take an advisory lock"],
    "GRANT DELETE ON audit_personal_data TO house_app": ["role house_app may erase personal data"],
    "GRANT INSERT ON login_reservations TO house_app": [
        "role house_app may unlock an operator", "may count an attempt in an operators' scope",
    ],
    "GRANT UPDATE (attempts) ON lockout_limits TO house_app": ["may change the limits of the lockout"],
    # functions and views
    "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM creators'": [
        "function peek() is SECURITY DEFINER and not declared"
    ],
    "ALTER FUNCTION find_creator(text) OWNER TO postgres": ["its owner is above the walls"],
    "ALTER FUNCTION find_creator(text) RESET ALL": ["function find_creator(text) is SECURITY DEFINER without SET"],
    "GRANT EXECUTE ON FUNCTION find_creator(text) TO PUBLIC": ["find_creator(text) may be called by PUBLIC"],
    "GRANT EXECUTE ON FUNCTION audit_ensure_partitions(integer) TO house_app": [
        "function audit_ensure_partitions(integer) may be called by house_app"
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
    place = Path(tempfile.mkdtemp(prefix="auth-test-"))
    place.chmod(0o711)
    with EmbeddedPostgres(place / "postgres", settings=FAST) as server:
        server.ensure_database(MIGRATED, ROLES)
        done = manage(server, MIGRATED, "migrate", "--verbosity=0")
        assert done.returncode == 0, done.stderr
        yield server
    shutil.rmtree(place)


class Inside(DatabaseWrapper):
    """The superuser's connection, in a transaction that is never committed; the command stays inside it."""

    def copy(self, alias: str | None = None) -> "Inside":
        return self

    def set_autocommit(self, *_: Any, **__: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def inside(cluster: EmbeddedPostgres, settings: Any, django_db_blocker: Any) -> Iterator[Inside]:
    settings.TENANT_ROLES = ROLES
    url = urlsplit(cluster.superuser_url(MIGRATED))
    place = {"HOST": unquote(str(url.hostname)), "USER": url.username, "PASSWORD": url.password}
    connection = Inside({**connections.settings["default"], **place, "NAME": MIGRATED}, "default")
    with django_db_blocker.unblock():
        usual, connections["default"] = connections["default"], connection
        DatabaseWrapper.set_autocommit(connection, autocommit=False)
        yield connection
        connections["default"] = usual
        DatabaseWrapper.close(connection)


def execute(connection: Inside, statement: str) -> None:
    connection.ensure_connection()
    connection.connection.execute(statement)  # past the guard


def faults(connection: Inside) -> str:
    """What the command tells the app role about the database as it is now."""
    execute(connection, "SET SESSION AUTHORIZATION house_app")
    said = StringIO()
    try:
        call_command("check_isolation", stdout=said)
    except CommandError as error:
        assert "the walls do not hold" in str(error)  # noqa: PT017
    return "\n".join(line for line in said.getvalue().splitlines() if line.startswith("OPEN"))


def manage(server: EmbeddedPostgres, database: str, *arguments: str, **more: str) -> Any:
    environment = os.environ | {
        "DATABASE_URL": server.url(ROLES.app, database),
        "OPERATOR_DATABASE_URL": server.url(ROLES.operator, database),
        "OWNER_DATABASE_URL": server.url(ROLES.owner, database),
        **more,
    }
    command = [sys.executable, "-W", "ignore", "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_walls_of_a_migrated_empty_database_hold_and_nothing_stays(cluster: EmbeddedPostgres) -> None:
    before = rows_in(cluster)
    done = manage(cluster, MIGRATED, "check_isolation", OPERATOR_DATABASE_URL="", OWNER_DATABASE_URL="")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "Tenants are isolated."
    assert all(line.startswith("ok ") for line in lines[:-1])
    (refresh,) = (line for line in lines if "table refresh_tokens" in line)
    assert [verb for verb in VERBS if verb not in refresh] == []
    assert rows_in(cluster) == before


def rows_in(cluster: EmbeddedPostgres) -> list[Any]:
    with psycopg.connect(cluster.superuser_url(MIGRATED)) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                                    "AND relkind = 'r' ORDER BY 1").fetchall()  # fmt: skip
        return [connection.execute(f"SELECT '{table}', count(*) FROM {table}".encode()).fetchone()
                for (table,) in tables]  # fmt: skip


def test_what_opens_nothing_is_left_in_peace(inside: Inside) -> None:
    for statement in HARMLESS:
        execute(inside, statement)
    assert faults(inside) == ""


def test_rows_that_are_there_already_are_seen_when_a_table_is_open(inside: Inside) -> None:
    execute(inside, "INSERT INTO audit_personal_data (id, creator_id, salt, user_agent, email) "
                    "VALUES (gen_random_uuid(), gen_random_uuid(), '', '', 'ada@example.com')")  # fmt: skip
    assert faults(inside) == ""
    execute(inside, "RESET SESSION AUTHORIZATION")
    execute(inside, "ALTER TABLE audit_personal_data DISABLE ROW LEVEL SECURITY")
    assert "table audit_personal_data: count with no setting" in faults(inside)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(fault: str, inside: Inside) -> None:
    execute(inside, fault)
    said = faults(inside)
    assert [words for words in FAULTS[fault] if words not in said] == [], said


def test_fault_ends_the_command_with_1(cluster: EmbeddedPostgres) -> None:
    with psycopg.connect(cluster.superuser_url(), autocommit=True) as superuser:
        superuser.execute("ALTER ROLE house_app BYPASSRLS")
        done = manage(cluster, MIGRATED, "check_isolation")
        superuser.execute("ALTER ROLE house_app NOBYPASSRLS")
    assert done.returncode == 1
    assert "OPEN  role house_app has BYPASSRLS" in done.stdout
    assert done.stderr.strip().endswith("the walls do not hold")


def test_database_that_is_away_is_told_in_one_line(cluster: EmbeddedPostgres) -> None:
    done = manage(cluster, "nowhere", "check_isolation")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
