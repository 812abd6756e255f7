"""RLS statement by statement: Mallory's SQL on a connection of the app role whose tenant is Ada."""

import psycopg
import pytest
from psycopg import errors

from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.rls_fixtures import (
    REFUSED,
    TwoTenants,
    assert_outcomes,
    mallory,
    outcome,
    set_tenant,
    two_tenants,
)
from config.tests.support.rls_rows import REFERENCES, TABLES, insert_statement, new_row, tenant_column
from tenancy.context import TENANT_SETTING

__all__ = ["mallory", "two_tenants"]


def test_counts_include_only_own_rows(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    assert_outcomes(mallory, two_tenants, {
        **{f"SELECT count(*) FROM {table}": [(1,)] for table in TABLES},
        "SELECT count(*) FROM creators, sessions, audit_logs": [(1,)],
        "SELECT count(*) FROM creators TABLESAMPLE SYSTEM (100)": [(1,)],
        "SELECT count(*) FROM sessions WHERE creator_id = '{bob}'": [(0,)],
        "SELECT count(*) FROM creators WHERE is_staff": [(0,)],
    })  # fmt: skip


def test_no_query_reads_another_tenants_row(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    assert_outcomes(mallory, two_tenants, {
        "SELECT email FROM creators": [("ada@example.com",)],
        "TABLE creators LIMIT 0": [],
        "SELECT email FROM creators WHERE id = '{bob}' OR true": [("ada@example.com",)],
        "SELECT email FROM creators WHERE ctid <> (SELECT ctid FROM creators)": [],
        "WITH RECURSIVE r AS (SELECT id FROM creators UNION SELECT creator_id FROM sessions) "
        "SELECT count(*) FROM r": [(1,)],
        "SELECT email FROM creators FOR UPDATE": [("ada@example.com",)],
        "SELECT id FROM user_sessions WHERE id = '{bob_user_sessions}' FOR UPDATE": [],
        "SELECT id FROM user_sessions WHERE id = '{bob_user_sessions}' FOR KEY SHARE SKIP LOCKED": [],
        "SELECT c.email FROM sessions s JOIN creators c ON c.id <> s.creator_id": [],
        "SELECT email FROM ONLY creators WHERE email LIKE 'bob%'": [],
        "SELECT max(email), string_agg(email, ',') FROM creators": [("ada@example.com", "ada@example.com")],
        "SELECT row_to_json(c) FROM creators c WHERE id <> '{ada}'": [],
        "SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM creators') WHERE word LIKE 'bob%'": [],
    })  # fmt: skip


def test_no_condition_is_evaluated_on_another_tenants_row(
    mallory: psycopg.Connection, two_tenants: TwoTenants
) -> None:
    """A condition evaluated before the policy could reveal a row by its error."""
    assert_outcomes(mallory, two_tenants, {
        "SELECT email FROM creators WHERE CASE WHEN email LIKE 'ada%' THEN true "
        "ELSE 1 / (length(email) - 15) = 1 END":
            [("ada@example.com",)],
        "SELECT id FROM creators WHERE email LIKE 'bob%' AND email::integer = 1": [],
        "UPDATE creators SET display_name = email WHERE email LIKE 'bob%' AND (1 / (length(email) - 15)) = 1": 0,
        "SELECT count(*) FROM sessions WHERE creator_id = '{bob}' AND id::text::integer = 1": [(0,)],
    })  # fmt: skip


def test_catalogs_and_statistics_reveal_no_row(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    for table in TABLES:
        two_tenants.superuser.execute(f"ANALYZE {table}".encode())
    tables = ", ".join(f"'{table}'" for table in TABLES)
    analyzed = f"SELECT count(DISTINCT tablename) FROM pg_stats WHERE tablename IN ({tables})".encode()
    assert two_tenants.superuser.execute(analyzed).fetchone() == (len(TABLES),)
    assert_outcomes(mallory, two_tenants, {
        f"SELECT * FROM pg_stats WHERE tablename IN ({tables})": [],
        "SELECT * FROM pg_stats WHERE tablename LIKE 'audit_logs%'": [],
        "SELECT * FROM pg_stats_ext": [],
        "SELECT stavalues1 FROM pg_statistic": REFUSED,
        "SELECT stxdmcv FROM pg_statistic_ext_data": REFUSED,
        "SELECT * FROM pg_stat_activity": REFUSED,
        "SELECT pg_stat_get_backend_activity(1)": REFUSED,
        "SELECT * FROM pg_authid": REFUSED,
        "SELECT * FROM pg_hba_file_rules": REFUSED,
        "SELECT currval('creators_groups_id_seq')": REFUSED,
        "SELECT last_value FROM creators_groups_id_seq": REFUSED,
    })  # fmt: skip
    for table in TABLES:
        plan = outcome(mallory, f"EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM {table}")
        assert plan != REFUSED
        assert two_tenants.leaks(str(plan), statement="") == []


def test_no_statement_changes_another_tenants_row(
    mallory: psycopg.Connection, two_tenants: TwoTenants
) -> None:
    into = "INSERT INTO user_sessions (id, creator_id, created_at, expires_at, metadata) "
    assert_outcomes(mallory, two_tenants, {
        "UPDATE creators SET display_name = 'x' WHERE id <> '{ada}'": 0,
        "UPDATE user_sessions SET metadata = '{}' WHERE creator_id <> '{ada}' RETURNING *": [],
        "UPDATE user_sessions SET creator_id = '{ada}' WHERE id = '{bob_user_sessions}'": 0,
        "UPDATE user_sessions SET creator_id = '{bob}'": REFUSED,
        "UPDATE user_sessions u SET metadata = '{}' FROM creators c WHERE c.id <> '{ada}'": 0,
        "DELETE FROM creators WHERE id <> '{ada}' RETURNING email": [],
        "DELETE FROM user_sessions WHERE creator_id = '{bob}'": 0,
        "DELETE FROM user_sessions USING creators WHERE creators.id = '{bob}'": 0,
        "DELETE FROM audit_personal_data": REFUSED,
        into + "VALUES (gen_random_uuid(), '{bob}', now(), now(), '{}')": REFUSED,
        into + "SELECT gen_random_uuid(), '{bob}', now(), now(), metadata "
        "FROM user_sessions RETURNING *": REFUSED,
        into + "VALUES ('{bob_user_sessions}', '{ada}', now(), now(), '{}')"
        " ON CONFLICT (id) DO NOTHING RETURNING *": [],
        into + "VALUES ('{bob_user_sessions}', '{ada}', now(), now(), '{}')"
        " ON CONFLICT (id) DO UPDATE SET metadata = '{}' RETURNING *": REFUSED,
        into + "VALUES ('{bob_user_sessions}', '{bob}', now(), now(), '{}')"
        " ON CONFLICT DO NOTHING": REFUSED,
        "INSERT INTO creators (id, email) VALUES ('{bob}', 'x') ON CONFLICT (id) DO UPDATE SET email = 'x'": REFUSED,
        "MERGE INTO user_sessions u USING (SELECT '{bob_user_sessions}'::uuid AS id) m ON u.id = m.id "
        "WHEN MATCHED THEN DELETE": 0,
        "MERGE INTO user_sessions u USING (SELECT '{bob_user_sessions}'::uuid AS id) m ON u.id = m.id "
        "WHEN NOT MATCHED THEN INSERT (id, creator_id, created_at, expires_at, metadata) "
        "VALUES (m.id, '{bob}', now(), now(), '{}')": REFUSED,
        "MERGE INTO user_sessions USING (SELECT 1) m ON true WHEN MATCHED THEN DELETE": REFUSED,
        "WITH gone AS (DELETE FROM user_sessions WHERE creator_id <> '{ada}' RETURNING *) SELECT * FROM gone": [],
    })  # fmt: skip


@pytest.mark.parametrize(("table", "column"), REFERENCES)
def test_no_row_references_another_tenants_row(
    table: str, column: str, mallory: psycopg.Connection, two_tenants: TwoTenants
) -> None:
    """Foreign key checks ignore RLS, so the key includes the tenant."""
    row = new_row(table, two_tenants.ada, two_tenants.rows[two_tenants.ada])
    row[column] = two_tenants[f"bob_{REFERENCES[table, column]}"]
    assert outcome(mallory, insert_statement(table, row), list(row.values())) == "ForeignKeyViolation"


def test_copy_reads_only_own_rows_and_writes_none(
    mallory: psycopg.Connection, two_tenants: TwoTenants
) -> None:
    for table in TABLES:
        with mallory.cursor().copy(f"COPY {table} TO STDOUT".encode()) as out:
            rows = b"".join(bytes(part) for part in out).decode()
        expected = 0 if table == "audit_logs" else 1  # COPY reads no partitions of a partitioned table
        assert rows.count("\n") == expected, table
        assert two_tenants.leaks(rows, statement="") == []
        with (
            pytest.raises((errors.FeatureNotSupported, errors.InsufficientPrivilege)),
            mallory.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy,
        ):
            copy.write(rows)


@pytest.mark.parametrize("table", TABLES)
def test_no_ddl_changes_a_table(table: str, mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    assert_outcomes(mallory, two_tenants, {
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY": REFUSED,
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY": REFUSED,
        f"ALTER TABLE {table} OWNER TO auth_app": REFUSED,
        f"ALTER TABLE {table} DISABLE TRIGGER ALL": REFUSED,
        f"ALTER TABLE {table} ADD COLUMN x int": REFUSED,
        f"DROP TABLE {table} CASCADE": REFUSED,
        f"DROP POLICY {table}_tenant ON {table}": REFUSED,
        f"ALTER POLICY {table}_tenant ON {table} USING (true)": REFUSED,
        f"CREATE POLICY mine ON {table} USING (true)": REFUSED,
        f"CREATE INDEX ON {table} (id)": REFUSED,
        f"CREATE VIEW mine AS SELECT * FROM {table}": REFUSED,
        f"CREATE STATISTICS mine ON id, {tenant_column(table)} FROM {table}": REFUSED,
        f"GRANT ALL ON {table} TO auth_app": -1,  # PostgreSQL only warns that nothing was granted
        f"TRUNCATE {table} CASCADE": REFUSED,
        f"LOCK TABLE ONLY {table} IN ACCESS SHARE MODE": -1,
    })  # fmt: skip


def test_app_role_gets_no_other_role(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    others = [ROLES.owner, ROLES.operator, ROLES.lookup, "postgres"]
    assert_outcomes(mallory, two_tenants, {
        **{f"SET ROLE {role}": REFUSED for role in others},
        **{f"SET SESSION AUTHORIZATION {role}": REFUSED for role in others},
        **{f"GRANT {role} TO {ROLES.app}": REFUSED for role in others},
        **{f"ALTER ROLE {ROLES.app} {power}": REFUSED
           for power in ("SUPERUSER", "BYPASSRLS", "CREATEROLE", "CREATEDB", "REPLICATION")},
        "CREATE ROLE mine SUPERUSER": REFUSED,
        "CREATE DATABASE mine": "ActiveSqlTransaction",
        "SET session_replication_role = replica": REFUSED,
        "ALTER SYSTEM SET row_security = off": "ActiveSqlTransaction",
        "SELECT set_config('role', 'auth_operator', false)": REFUSED,
        "DO $$ BEGIN EXECUTE 'SET ROLE auth_operator'; END $$": REFUSED,
    })  # fmt: skip
    mallory.execute("SET row_security = off")
    assert outcome(mallory, "SELECT * FROM creators") == REFUSED
    assert outcome(mallory, "UPDATE user_sessions SET metadata = '{}'") == REFUSED


def test_app_role_creates_no_object(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    assert_outcomes(mallory, two_tenants, {
        "CREATE TABLE mine (id int)": REFUSED,
        "CREATE TEMPORARY TABLE creators (id int)": REFUSED,
        "CREATE SCHEMA mine": REFUSED,
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": REFUSED,
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": REFUSED,
        "CREATE EXTENSION vector": REFUSED,
        "CREATE PUBLICATION mine FOR ALL TABLES": REFUSED,
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION now()": REFUSED,
        "ALTER FUNCTION find_creator(text) OWNER TO auth_app": REFUSED,
        "ALTER DEFAULT PRIVILEGES FOR ROLE auth_owner GRANT SELECT ON TABLES TO auth_app": REFUSED,
        "SECURITY LABEL ON TABLE creators IS 'x'": "InvalidParameterValue",
    })  # fmt: skip


def test_app_role_reaches_no_file(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    (oid,) = two_tenants.superuser.execute("SELECT lo_from_bytea(0, 'a secret')").fetchone()  # type: ignore[misc]
    assert_outcomes(mallory, two_tenants, {
        "COPY creators TO '/tmp/creators'": REFUSED,
        "COPY user_sessions FROM '/etc/passwd'": REFUSED,
        "COPY creators TO PROGRAM 'cat'": REFUSED,
        "SELECT pg_read_file('PG_VERSION')": REFUSED,
        "SELECT pg_read_binary_file('PG_VERSION')": REFUSED,
        "SELECT pg_ls_dir('.')": REFUSED,
        "SELECT lo_import('/etc/passwd')": REFUSED,
        f"SELECT lo_export({oid}, '/tmp/secret')": REFUSED,
        f"SELECT lo_get({oid})": REFUSED,
        f"SELECT lo_unlink({oid})": REFUSED,
        "SELECT data FROM pg_largeobject": REFUSED,
        "SELECT pg_logical_slot_get_changes('x', NULL, NULL)": REFUSED,
        "SELECT pg_create_physical_replication_slot('x')": REFUSED,
    })  # fmt: skip
    two_tenants.superuser.execute("SELECT lo_unlink(%s)", [oid])


def test_app_role_uses_no_restricted_function(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    """Table privileges do not restrict large objects, advisory locks and WAL messages."""
    assert_outcomes(mallory, two_tenants, {
        "SELECT lo_create(0)": REFUSED,
        "SELECT lo_creat(-1)": REFUSED,
        "SELECT lo_from_bytea(0, 'x')": REFUSED,
        "SELECT lo_open(1, 131072)": REFUSED,
        "SELECT lowrite(0, 'x')": REFUSED,
        "SELECT pg_advisory_lock(hashtextextended('admin:olga@example.com', 0))": REFUSED,
        "SELECT pg_advisory_xact_lock(1)": REFUSED,
        "SELECT pg_try_advisory_lock_shared(1, 1)": REFUSED,
        "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))": REFUSED,
    })  # fmt: skip


def test_partitions_cannot_be_accessed_directly(mallory: psycopg.Connection, two_tenants: TwoTenants) -> None:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    partitions = [name for (name,) in two_tenants.superuser.execute(query)]
    assert len(partitions) > 4
    for partition in partitions:
        assert_outcomes(mallory, two_tenants, {
            f"SELECT * FROM {partition}": REFUSED,
            f"INSERT INTO {partition} SELECT * FROM audit_logs": REFUSED,
            f"DELETE FROM {partition}": REFUSED,
            f"TRUNCATE {partition}": REFUSED,
        })  # fmt: skip


@pytest.mark.parametrize("setting", ["", "00000000-0000-0000-0000-000000000000"])
def test_empty_setting_shows_no_rows(
    setting: str, mallory: psycopg.Connection, two_tenants: TwoTenants
) -> None:
    set_tenant(mallory, setting)
    for table in TABLES:
        assert mallory.execute(f"SELECT * FROM {table}".encode()).fetchall() == []


def test_missing_setting_shows_no_rows_and_invalid_one_fails(two_tenants: TwoTenants) -> None:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        assert app.execute("SELECT current_setting(%s, true)", [TENANT_SETTING]).fetchone() == (None,)
        for table in TABLES:
            assert app.execute(f"SELECT * FROM {table}".encode()).fetchall() == []
        set_tenant(app, f"{two_tenants.bob}' OR true --")
        assert outcome(app, "SELECT * FROM creators") == "InvalidTextRepresentation"
