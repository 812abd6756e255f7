"""The walls between tenants, table by table: each verb as the tenant, as another, and as nobody."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.rls_fixtures import (
    MODELS,
    REFUSED,
    TwoTenants,
    become,
    insertion,
    mallory,
    outcome,
    two_tenants,
)
from tenancy.checks.sample_rows import adapted, links, sample_row
from tenancy.constraints import CompositeForeignKey, tenant_column

__all__ = ["mallory", "two_tenants"]

# Every table with tenant data, and what the app may do with the tenant's own rows.
# To change this is to change the walls.
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
MOVABLE = {"user_sessions"}  # UPDATE is granted for all columns: the policy alone refuses the move
# Every other table, and what the app may do there, with any row.
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
COLUMNS_UPDATED = {"api_keys"}  # when it was last used
# Functions that see more than their caller, as the app may call them.
DEFINERS = {
    "events_at_own_address(uuid,integer)",
    "find_creator(text)",
    "lockout_unlock(text,text)",
    "lockout_release(uuid)",
    "lockout_reserve(text,text,uuid,integer,interval,interval)",
    "lockout_finish(text,text,uuid,boolean)",
    "record_event(uuid,text,text,jsonb,inet,text,text)",
}


def asked(connection: psycopg.Connection, query: str, *values: Any) -> list[Any]:
    """The first column of what comes back."""
    return [row[0] for row in connection.execute(query.encode(), values or None)]


def column_of(model: Any, field: str) -> str:
    return str(model._meta.get_field(field).column)


def test_every_table_is_on_one_of_the_two_lists(superuser: psycopg.Connection) -> None:
    query = """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition"""
    assert set(asked(superuser, query)) == TENANT_TABLES.keys() | OTHER_TABLES.keys()
    assert MODELS.keys() == TENANT_TABLES.keys()


def test_app_may_do_with_the_other_tables_what_is_listed(mallory: psycopg.Connection) -> None:
    of_table = "SELECT v FROM unnest(%s::text[]) AS v WHERE has_table_privilege(%s, v)"
    of_column = "SELECT v FROM unnest(%s::text[]) AS v WHERE has_any_column_privilege(%s, v)"
    verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"]
    for_columns = ["SELECT", "INSERT", "UPDATE", "REFERENCES"]
    for table, allowed in OTHER_TABLES.items():
        found = asked(mallory, of_table, verbs, table)
        assert " ".join(found) == allowed, table
        columns = set(allowed.split()) | ({"UPDATE"} if table in COLUMNS_UPDATED else set())
        assert set(asked(mallory, of_column, for_columns, table)) <= columns, table


def test_app_calls_past_the_walls_only_what_is_listed(mallory: psycopg.Connection) -> None:
    query = "SELECT oid::regprocedure::text FROM pg_proc WHERE prosecdef AND has_function_privilege(oid, %s)"
    assert set(asked(mallory, query, "EXECUTE")) == DEFINERS


def test_app_draws_from_no_sequence(mallory: psycopg.Connection) -> None:
    query = "SELECT sequencename FROM pg_sequences WHERE has_sequence_privilege(sequencename, %s)"
    for privilege in ("USAGE", "SELECT", "UPDATE"):
        assert asked(mallory, query, privilege) == []


def test_every_tenant_table_could_be_distributed_by_tenant() -> None:
    for table, model in MODELS.items():
        assert tenant_column(model) == ("id" if table == "creators" else "creator_id")
        columns = {field.column: field for field in model._meta.concrete_fields}
        assert not columns[tenant_column(model)].null
        keys = [[column_of(model, name) for name in one.fields]
                for one in model._meta.total_unique_constraints]  # fmt: skip
        keys.append([column_of(model, field.name) for field in model._meta.pk_fields])
        assert table == "creators" or ["creator_id", "id"] in keys, table
        references = [one for one in model._meta.constraints if isinstance(one, CompositeForeignKey)]
        assert {column_of(model, one.fields[0]) for one in references} <= {"creator_id"}, table
        covered = {column_of(model, name) for one in references for name in one.fields}
        assert {link.column for link in links(model, list(MODELS.values()))} <= covered, table


def test_no_foreign_key_between_tenant_tables_leaves_the_tenant_out(superuser: psycopg.Connection) -> None:
    query = """
        SELECT conname FROM pg_constraint WHERE contype = 'f'
        AND conrelid::regclass::text = ANY(%s) AND NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]
            AND attname = 'creator_id')
    """
    assert asked(superuser, query, list(TENANT_TABLES)) == []
    assert len(asked(superuser, "SELECT conname FROM pg_constraint WHERE contype = 'f'")) > 8


@pytest.mark.parametrize("table", sorted(TENANT_TABLES))
def test_rows_can_be_had_by_their_tenant_alone(table: str, two_tenants: TwoTenants) -> None:
    allowed = TENANT_TABLES[table].split()
    mine = {verb: 1 if verb in allowed else REFUSED for verb in ("select", "insert", "update", "delete")}
    theirs = {
        "select": 0,
        "insert": REFUSED,
        "update": 0 if "update" in allowed else REFUSED,
        "delete": 0 if "delete" in allowed else REFUSED,
        "move": 0 if table in MOVABLE else REFUSED,
    }
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        assert verdicts(app, two_tenants, table) == theirs, "the setting is missing"
        become(app, two_tenants.ada)
        assert verdicts(app, two_tenants, table, newcomer=True) == mine | {"move": REFUSED}, "own rows"
        for other in (two_tenants.bob, two_tenants.olga, uuid4(), ""):
            become(app, other)
            assert verdicts(app, two_tenants, table) == theirs, f"the tenant is {other or 'nobody'}"


def verdicts(
    app: psycopg.Connection, two_tenants: TwoTenants, table: str, *, newcomer: bool = False
) -> dict[str, Any]:
    """What each verb does to Ada's row: rows touched, or the error."""
    model, key = MODELS[table], two_tenants[f"ada_{table}"]
    tenant = uuid4() if table == "creators" else two_tenants.ada
    row = sample_row(model, tenant, two_tenants.rows[two_tenants.ada])
    granted = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY NOT {}"
    may_update = "has_column_privilege(attrelid, attnum, 'UPDATE')"
    column = asked(app, granted.format(may_update), table)[0]
    statements: dict[str, tuple[str, list[Any]]] = {
        "select": (f"SELECT FROM {table} WHERE id = %s", [key]),
        "insert": (insertion(model, row), adapted(model, row, connection)),
        "update": (f"UPDATE {table} SET {column} = {column} WHERE id = %s", [key]),
        "delete": (f"DELETE FROM {table} WHERE id = %s", [key]),
        "move": (f"UPDATE {table} SET {tenant_column(model)} = %s WHERE id = %s", [two_tenants.bob, key]),
    }
    found = {}
    for verb, (statement, values) in statements.items():
        with app.transaction(force_rollback=True):
            if newcomer and table == "creators" and verb == "insert":
                become(app, tenant)  # nobody can be inserted twice: it is a newcomer who signs up
            result = outcome(app, statement, values)
        found[verb] = len(result) if isinstance(result, list) else result
    return found
