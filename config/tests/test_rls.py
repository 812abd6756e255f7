"""RLS table by table: each verb as the tenant, as another tenant and without a tenant."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.apps import apps

from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.rls_fixtures import REFUSED, TwoTenants, mallory, outcome, set_tenant, two_tenants
from config.tests.support.rls_rows import (
    REFERENCES,
    SET_BY_DATABASE,
    TABLES,
    insert_statement,
    new_row,
    tenant_column,
)
from tenancy.constraints import tenant_models

__all__ = ["mallory", "two_tenants"]

# Every tenant table, and what the app role may do with the rows of the current tenant.
TENANT_TABLES = {
    "audit_logs": "select",
    "audit_personal_data": "select",
    "creators": "select insert update delete",
    "email_change_tokens": "select insert update",
    "email_changes": "select insert update",
    "email_verification_tokens": "select insert update",
    "jwt_blacklist": "select insert",
    "password_reset_tokens": "select insert update",
    "refresh_tokens": "select insert update",
    "security_notices": "select insert",
    "sessions": "select insert update",
    "user_sessions": "select insert update delete",
}
REASSIGNABLE = {"user_sessions"}  # UPDATE is granted for all columns: only the policy prevents a reassignment
# Every other table, and what the app role may do with any of its rows.
OTHER_TABLES = {
    "api_keys": "SELECT",
    "audit_seal_keys": "",
    "audit_seals": "",
    "auth_group": "",
    "auth_group_permissions": "",
    "auth_permission": "",
    "authenticators": "",
    "axes_accessattempt": "",
    "axes_accessattemptexpiration": "",
    "axes_accessfailurelog": "",
    "axes_accesslog": "",
    "counters": "SELECT INSERT UPDATE DELETE",
    "creators_groups": "",
    "creators_user_permissions": "",
    "django_admin_log": "",
    "django_content_type": "",
    "django_migrations": "SELECT",
    "django_session": "",
    "django_tasks_database_dbtaskresult": "INSERT",
    "lockout_limits": "",
    "login_reservations": "",
    "recovery_codes": "",
    "refused_mails": "",
    "signing_keys": "SELECT",
}
UPDATABLE_COLUMNS = {"api_keys"}  # last_used_at
# SECURITY DEFINER functions that the app role may execute.
DEFINERS = {
    "events_at_own_address(uuid,integer)",
    "find_creator(text)",
    "lockout_unlock(text,text)",
    "lockout_release(uuid)",
    "lockout_reserve(text,text,uuid,integer,interval,interval)",
    "lockout_finish(text,text,uuid,boolean)",
    "record_event(uuid,text,text,jsonb,inet,text,text)",
}


def column(connection: psycopg.Connection, query: str, *values: Any) -> list[Any]:
    """The first column of the result."""
    return [row[0] for row in connection.execute(query.encode(), values or None)]


def test_every_table_is_listed(superuser: psycopg.Connection) -> None:
    query = """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition"""
    assert set(column(superuser, query)) == TENANT_TABLES.keys() | OTHER_TABLES.keys()
    assert {model._meta.db_table for model in tenant_models(apps)} == set(TABLES) == TENANT_TABLES.keys()


def test_rows_of_the_tests_fill_every_column(superuser: psycopg.Connection) -> None:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    for table in TABLES:
        columns = set(column(superuser, query, table)) - SET_BY_DATABASE
        assert new_row(table, uuid4(), {}).keys() == columns, table


def test_app_has_only_the_listed_privileges_on_other_tables(mallory: psycopg.Connection) -> None:
    of_table = "SELECT v FROM unnest(%s::text[]) AS v WHERE has_table_privilege(%s, v)"
    of_column = "SELECT v FROM unnest(%s::text[]) AS v WHERE has_any_column_privilege(%s, v)"
    verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"]
    for_columns = ["SELECT", "INSERT", "UPDATE", "REFERENCES"]
    for table, allowed in OTHER_TABLES.items():
        assert " ".join(column(mallory, of_table, verbs, table)) == allowed, table
        columns = set(allowed.split()) | ({"UPDATE"} if table in UPDATABLE_COLUMNS else set())
        assert set(column(mallory, of_column, for_columns, table)) <= columns, table


def test_app_executes_only_the_listed_definer_functions(mallory: psycopg.Connection) -> None:
    query = "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND has_function_privilege(oid, %s)"
    assert set(column(mallory, query, "EXECUTE")) == DEFINERS


def test_app_has_no_privilege_on_any_sequence(mallory: psycopg.Connection) -> None:
    query = "SELECT sequencename FROM pg_sequences WHERE has_sequence_privilege(sequencename, %s)"
    for privilege in ("USAGE", "SELECT", "UPDATE"):
        assert column(mallory, query, privilege) == []


def test_every_tenant_table_has_a_key_with_the_tenant() -> None:
    """So each of them could be distributed by tenant."""
    for model in tenant_models(apps):
        table, fields = model._meta.db_table, {field.name: field for field in model._meta.concrete_fields}
        (tenant,) = (field for field in fields.values() if field.column == tenant_column(table))
        assert not tenant.null, table
        keys = [{fields[name].column for name in key.fields} for key in model._meta.total_unique_constraints]
        keys.append({field.column for field in model._meta.pk_fields})
        assert {"id", tenant_column(table)} in keys, table


def test_foreign_keys_between_tenant_tables_include_the_tenant(superuser: psycopg.Connection) -> None:
    query = """
        SELECT conrelid::regclass::text, array_agg(attname::text ORDER BY i), confrelid::regclass::text
        FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS k(n, i)
        JOIN pg_attribute ON attnum = n WHERE attrelid = conrelid AND contype = 'f'
        AND conrelid::regclass::text = ANY(%s) GROUP BY pg_constraint.oid
    """
    keys = superuser.execute(query, [list(TABLES)]).fetchall()
    without_creator = {"creators", "audit_logs", "audit_personal_data"}  # the audit log outlives the creator
    expected = [(table, ["creator_id"], "creators") for table in set(TABLES) - without_creator]
    expected += [(table, ["creator_id", name], target) for (table, name), target in REFERENCES.items()]
    assert sorted(keys) == sorted(expected)


@pytest.mark.parametrize("table", sorted(TENANT_TABLES))
def test_only_the_tenant_reaches_its_rows(table: str, two_tenants: TwoTenants) -> None:
    allowed = TENANT_TABLES[table].split()
    own = {verb: 1 if verb in allowed else REFUSED for verb in ("select", "insert", "update", "delete")}
    foreign = {
        "select": 0,
        "insert": REFUSED,
        "update": 0 if "update" in allowed else REFUSED,
        "delete": 0 if "delete" in allowed else REFUSED,
        "reassign": 0 if table in REASSIGNABLE else REFUSED,
    }
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        assert outcomes(app, two_tenants, table) == foreign, "the setting is missing"
        set_tenant(app, two_tenants.ada)
        assert outcomes(app, two_tenants, table, sign_up=True) == own | {"reassign": REFUSED}, "own rows"
        for other in (two_tenants.bob, two_tenants.olga, uuid4(), ""):
            set_tenant(app, other)
            assert outcomes(app, two_tenants, table) == foreign, f"the tenant is {other or 'empty'}"


def outcomes(
    app: psycopg.Connection, two_tenants: TwoTenants, table: str, *, sign_up: bool = False
) -> dict[str, Any]:
    """The number of rows that each verb affects, or the error. All but the insert are about Ada's row."""
    key = two_tenants[f"ada_{table}"]
    tenant = uuid4() if table == "creators" else two_tenants.ada
    row = new_row(table, tenant, two_tenants.rows[two_tenants.ada])
    name = column(
        app,
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
        "ORDER BY NOT has_column_privilege(attrelid, attnum, 'UPDATE')",
        table,
    )[0]
    statements: dict[str, tuple[str, list[Any]]] = {
        "select": (f"SELECT FROM {table} WHERE id = %s", [key]),
        "insert": (insert_statement(table, row), list(row.values())),
        "update": (f"UPDATE {table} SET {name} = {name} WHERE id = %s", [key]),
        "delete": (f"DELETE FROM {table} WHERE id = %s", [key]),
        "reassign": (f"UPDATE {table} SET {tenant_column(table)} = %s WHERE id = %s", [two_tenants.bob, key]),
    }
    results = {}
    for verb, (statement, values) in statements.items():
        with app.transaction(force_rollback=True):
            if sign_up and table == "creators" and verb == "insert":
                set_tenant(app, tenant)  # Ada's row exists already, so insert another creator
            result = outcome(app, statement, values)
        results[verb] = len(result) if isinstance(result, list) else result
    return results
