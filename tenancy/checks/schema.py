"""Holds the live database against what the models declare.

Each function returns findings, one sentence each; none means that the wall stands.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.models import Model

from tenancy.constraints import Grant, Policy, RowLevelSecurity, role_name, tenant_column, tenant_models
from tenancy.grants import granted_tables

MINIMUM_VERSION = 15


def role_findings(alias: str) -> Iterator[str]:
    """Is the role behind `alias` bound by the walls?"""
    (row,) = rows(
        alias,
        """
        SELECT current_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
               EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid),
               EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relpersistence <> 't')
        FROM pg_roles WHERE rolname = current_user
        """,
    )
    name, *facts = row
    words = (
        "is a superuser", "has BYPASSRLS", "may create roles", "may create databases",
        "may replicate", "is a member of another role", "owns tables",
    )  # fmt: skip
    for fact, word in zip(facts, words, strict=True):
        if fact:
            yield f"role {name} {word}"


def version_findings(alias: str) -> Iterator[str]:
    connections[alias].ensure_connection()
    version = connections[alias].connection.info.server_version // 10000
    if version < MINIMUM_VERSION:
        yield f"PostgreSQL {version} is too old: {MINIMUM_VERSION} or later"


def table_findings(alias: str) -> Iterator[str]:
    """Row Level Security, policies and grants of every tenant table, and tables nobody declared."""
    live = {name: flags for name, *flags in rows(alias, _TABLES)}
    for model in tenant_models(apps):
        table = model._meta.db_table
        if table not in live:
            yield f"table {table} does not exist"
            continue
        for on, word in zip(live[table], ("enabled", "forced"), strict=True):
            if not on:
                yield f"table {table}: row level security is not {word}"
    yield from _policy_findings(alias)
    yield from _grant_findings(alias)
    yield from _undeclared_findings(alias)


_TABLES = """
    SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""


def _policy_findings(alias: str) -> Iterator[str]:
    live = {
        (table, name): (restrictive, roles, command, _normal(using), _normal(check))
        for table, name, restrictive, roles, command, using, check in rows(
            alias,
            "SELECT tablename, policyname, permissive = 'RESTRICTIVE', roles::text[], cmd, qual, with_check "
            "FROM pg_policies WHERE schemaname = 'public'",
        )
    }
    for model in _declaring_models():
        for policy in model._meta.constraints:
            if not isinstance(policy, Policy):
                continue
            table, condition = model._meta.db_table, _normal(policy.condition(model))
            expected = (policy.restrictive, [role_name(policy.role)], "ALL", condition, condition)
            found = live.pop((table, policy.name), None)
            if found is None:
                yield f"table {table}: policy {policy.name} is missing"
            elif found != expected:
                yield f"table {table}: policy {policy.name} is not as declared"
    for table, name in live:
        yield f"table {table}: policy {name} is not declared"


def _normal(expression: str | None) -> str:
    """PostgreSQL prints a condition with its own casts, aliases, brackets and spaces."""
    return re.sub(r'::text|as "nullif"|[\s()]', "", (expression or "").lower())


def _grant_findings(alias: str) -> Iterator[str]:
    expected = {key: _privileges(given) for key, given in granted_tables().items()}
    for model in _declaring_models():
        for grant in model._meta.constraints:
            if isinstance(grant, Grant):
                key = (grant.role, model._meta.db_table)
                expected[key] = expected.get(key, set()) | _privileges(grant.privileges)
    live = _live_grants(alias)
    for role, table in sorted(expected.keys() | live.keys()):
        declared, found = expected.get((role, table), set()), live.get((role, table), set())
        for privilege in sorted(found - declared):
            yield f"table {table}: role {role_name(role)} holds {privilege}, which is not declared"
        for privilege in sorted(declared - found):
            yield f"table {table}: role {role_name(role)} lacks {privilege}"


def _live_grants(alias: str) -> dict[tuple[str, str], set[str]]:
    logical = {role_name(role): role for role in ("app", "operator", "lookup")} | {"PUBLIC": "PUBLIC"}
    found: dict[tuple[str, str], set[str]] = {}
    for table, grantee, privilege, column in rows(alias, _GRANTS):
        if grantee in logical:
            words = f"{privilege} ({column})" if column else privilege
            found.setdefault((logical[grantee], table), set()).add(words)
    return found


_GRANTS = """
    SELECT relname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type, NULL
    FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT relname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type,
        attname
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl)
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
"""


def _privileges(given: list[str]) -> set[str]:
    """["SELECT", "UPDATE (a, b)"] → {"SELECT", "UPDATE (a)", "UPDATE (b)"}"""
    found = set()
    for words in given:
        verb, _, columns = words.partition(" (")
        found |= {f"{verb} ({name})" for name in columns.rstrip(")").split(", ")} if columns else {verb}
    return found


def _undeclared_findings(alias: str) -> Iterator[str]:
    """A table that carries a tenant's id and stands outside the walls."""
    declared = {model._meta.db_table: tenant_column(model) for model in tenant_models(apps)}
    keys = {model._meta.pk.column for model in tenant_models(apps) if model._meta.pk}
    columns = sorted(set(declared.values()) - keys)
    exempt = declared.keys() | settings.TENANT_OPERATOR_TABLES
    for table, column, partition, walled in rows(alias, _CARRIERS, [columns]):
        if partition and not walled:
            yield f"partition {table}: row level security is not enabled and forced"
        elif not partition and table not in exempt:
            yield f"table {table} carries {column} and is not declared a tenant table"


_CARRIERS = """
    SELECT pg_class.oid::regclass::text, attname, relispartition, relrowsecurity AND relforcerowsecurity
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^pg_' AND relkind IN ('r', 'p', 'f') AND attname = ANY(%s) AND NOT attisdropped
    ORDER BY 1
"""


def _declaring_models() -> list[type[Model]]:
    kinds = (RowLevelSecurity, Policy, Grant)
    return [m for m in apps.get_models() if any(isinstance(c, kinds) for c in m._meta.constraints)]


def rows(alias: str, sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
