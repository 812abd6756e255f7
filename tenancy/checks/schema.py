"""Compares the live database with the declarations in the models.

Each function yields findings, one sentence each.
"""

import re
from collections.abc import Iterator

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.models import Model

from tenancy.constraints import Grant, Policy, RowLevelSecurity, role_name, tenant_column, tenant_models
from tenancy.grants import granted_tables

from .database import rows

MINIMUM_VERSION = 15


def role_findings(alias: str) -> Iterator[str]:
    """Attributes by which the role of `alias` bypasses RLS or could get around it."""
    ((name, *attributes),) = rows(alias, _ROLE)
    descriptions = (
        "is a superuser", "has BYPASSRLS", "may create roles", "may create databases",
        "may replicate", "is a member of another role", "owns tables",
    )  # fmt: skip
    for has_attribute, description in zip(attributes, descriptions, strict=True):
        if has_attribute:
            yield f"role {name} {description}"


_ROLE = """
    SELECT current_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,
        EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid),
        EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relpersistence <> 't')
    FROM pg_roles WHERE rolname = current_user
"""


def version_findings(alias: str) -> Iterator[str]:
    connections[alias].ensure_connection()
    version = connections[alias].connection.info.server_version // 10000
    if version < MINIMUM_VERSION:
        yield f"PostgreSQL {version} is too old: {MINIMUM_VERSION} or later"


def table_findings(alias: str) -> Iterator[str]:
    """Differences in RLS, policies and grants, and tenant tables that are not declared."""
    live = {name: flags for name, *flags in rows(alias, _TABLES)}
    for model in tenant_models(apps):
        table = model._meta.db_table
        if table not in live:
            yield f"table {table} does not exist"
            continue
        for is_on, state in zip(live[table], ("enabled", "forced"), strict=True):
            if not is_on:
                yield f"table {table}: row-level security is not {state}"
    yield from _policy_findings(alias)
    yield from _grant_findings(alias)
    yield from _undeclared_findings(alias)


_TABLES = """
    SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""


def _policy_findings(alias: str) -> Iterator[str]:
    live = {
        (table, name): (restrictive, roles, command, _normalized(using), _normalized(check))
        for table, name, restrictive, roles, command, using, check in rows(alias, _POLICIES)
    }
    for model in _declaring_models():
        for policy in model._meta.constraints:
            if not isinstance(policy, Policy):
                continue
            table, condition = model._meta.db_table, _normalized(policy.condition(model))
            declared = (policy.restrictive, [role_name(policy.role)], "ALL", condition, condition)
            actual = live.pop((table, policy.name), None)
            if actual is None:
                yield f"table {table}: policy {policy.name} is missing"
            elif actual != declared:
                yield f"table {table}: policy {policy.name} differs from its declaration"
    for table, name in live:
        yield f"table {table}: policy {name} is not declared"


_POLICIES = """
    SELECT tablename, policyname, permissive = 'RESTRICTIVE', roles::text[], cmd, qual, with_check
    FROM pg_policies WHERE schemaname = 'public'
"""


def _normalized(expression: str | None) -> str:
    """The expression without the type casts, aliases, brackets and spaces that PostgreSQL adds."""
    return re.sub(r'::text|as "nullif"|[\s()]', "", (expression or "").lower())


def _grant_findings(alias: str) -> Iterator[str]:
    declared, live = _declared_grants(), _live_grants(alias)
    for key in sorted(declared.keys() | live.keys()):
        role, table = key
        for privilege in sorted(live.get(key, set()) - declared.get(key, set())):
            yield f"table {table}: role {role_name(role)} has {privilege}, which is not declared"
        for privilege in sorted(declared.get(key, set()) - live.get(key, set())):
            yield f"table {table}: role {role_name(role)} lacks {privilege}"


def _declared_grants() -> dict[tuple[str, str], set[str]]:
    grants = {key: _split(privileges) for key, privileges in granted_tables().items()}
    for model in _declaring_models():
        for grant in model._meta.constraints:
            if isinstance(grant, Grant):
                grants.setdefault((grant.role, model._meta.db_table), set()).update(_split(grant.privileges))
    return grants


def _live_grants(alias: str) -> dict[tuple[str, str], set[str]]:
    logical = {role_name(role): role for role in ("app", "operator", "lookup")} | {"PUBLIC": "PUBLIC"}
    grants: dict[tuple[str, str], set[str]] = {}
    for table, grantee, verb, column in rows(alias, _GRANTS):
        if grantee in logical:
            privilege = f"{verb} ({column})" if column else verb
            grants.setdefault((logical[grantee], table), set()).add(privilege)
    return grants


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


def _split(privileges: list[str]) -> set[str]:
    """["SELECT", "UPDATE (a, b)"] → {"SELECT", "UPDATE (a)", "UPDATE (b)"}"""
    split = set()
    for privilege in privileges:
        verb, _, columns = privilege.partition(" (")
        split |= {f"{verb} ({name})" for name in columns.rstrip(")").split(", ")} if columns else {verb}
    return split


def _undeclared_findings(alias: str) -> Iterator[str]:
    """Tables with a tenant column that are not declared as tenant tables, and partitions without RLS."""
    declared = {model._meta.db_table: tenant_column(model) for model in tenant_models(apps)}
    keys = {model._meta.pk.column for model in tenant_models(apps) if model._meta.pk}
    columns = sorted(set(declared.values()) - keys)
    exempt = declared.keys() | settings.TENANT_OPERATOR_TABLES
    for table, column, is_partition, has_rls in rows(alias, _TABLES_WITH_COLUMNS, [columns]):
        if is_partition and not has_rls:
            yield f"partition {table}: row-level security is not enabled and forced"
        elif not is_partition and table not in exempt:
            yield f"table {table} has the column {column} but is not declared as a tenant table"


_TABLES_WITH_COLUMNS = """
    SELECT pg_class.oid::regclass::text, attname, relispartition, relrowsecurity AND relforcerowsecurity
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^pg_' AND relkind IN ('r', 'p', 'f') AND attname = ANY(%s) AND NOT attisdropped
    ORDER BY 1
"""


def _declaring_models() -> list[type[Model]]:
    kinds = (RowLevelSecurity, Policy, Grant)
    return [m for m in apps.get_models() if any(isinstance(c, kinds) for c in m._meta.constraints)]
