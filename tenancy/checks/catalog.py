"""Finds roles, privileges, defaults, functions, views and foreign keys that get around the RLS policies."""

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings

from tenancy.constraints import role_name, tenant_column, tenant_models
from tenancy.context import TENANT_SETTING
from tenancy.roles import APP_ROLE_SETTINGS, RESTRICTED_FUNCTIONS

from .database import rows

TRUSTED_PATH = "search_path=pg_catalog, pg_temp"


def catalog_findings(alias: str) -> Iterator[str]:
    yield from _other_role_findings(alias)
    yield from _privilege_findings(alias)
    yield from _default_setting_findings(alias)
    yield from _function_findings(alias)
    yield from _view_findings(alias)
    yield from _foreign_key_findings(alias)


def _other_role_findings(alias: str) -> Iterator[str]:
    """RLS must bind the other roles too, and the lookup role must not be able to log in."""
    names = [role_name(role) for role in ("owner", "operator", "lookup")]
    query = "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = ANY(%s)"
    for name, is_superuser, bypasses_rls, can_log_in in rows(alias, query, [names]):
        if is_superuser or bypasses_rls:
            yield f"role {name} {'is a superuser' if is_superuser else 'has BYPASSRLS'}"
        if can_log_in and name == role_name("lookup"):
            yield f"role {name} may log in"


def _privilege_findings(alias: str) -> Iterator[str]:
    """The app role must not create objects, execute restricted functions or have default privileges."""
    app = role_name("app")
    for target, privilege in rows(alias, _CREATE_PRIVILEGES):
        yield f"role {app} has {privilege} on {target}"
    for (function,) in rows(alias, _RESTRICTED_FUNCTIONS, [RESTRICTED_FUNCTIONS]):
        yield f"role {app} may execute {function}"
    for (function,) in rows(alias, _ACTIVITY_FUNCTIONS):
        yield f"role {app} can read the statements of its other sessions with {function}"
    for grantee, privilege in rows(alias, _DEFAULT_PRIVILEGES, [[app, role_name("lookup")]]):
        yield f"default privileges give {grantee} {privilege} on future tables"


_CREATE_PRIVILEGES = """
    SELECT 'the database', privilege FROM unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege
    WHERE has_database_privilege(current_database(), privilege)
    UNION ALL
    SELECT 'schema ' || nspname, 'CREATE' FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE')
"""

_RESTRICTED_FUNCTIONS = """
    SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND proname ~ %s AND has_function_privilege(oid, 'EXECUTE')
    ORDER BY 1
"""

_ACTIVITY_FUNCTIONS = """
    SELECT name FROM unnest(ARRAY['pg_stat_get_activity', 'pg_stat_get_backend_activity']) AS name
    WHERE has_function_privilege('pg_catalog.' || name || '(integer)', 'EXECUTE')
        AND current_setting('track_activities') = 'on'
"""

_DEFAULT_PRIVILEGES = """
    SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type
    FROM pg_default_acl, aclexplode(defaclacl)
    WHERE defaclobjtype = 'r' AND (grantee = 0 OR pg_get_userbyid(grantee) = ANY(%s))
"""


def _default_setting_findings(alias: str) -> Iterator[str]:
    """No role or database default may set a tenant or change the settings of the app role."""
    for (target,) in rows(alias, _TENANT_DEFAULTS, [f"{TENANT_SETTING}="]):
        yield f"{target} has a default for {TENANT_SETTING}: sessions start with that tenant"
    for setting, value in rows(alias, _APP_ROLE_DEFAULTS, [list(APP_ROLE_SETTINGS)]):
        if value != APP_ROLE_SETTINGS[setting]:
            yield f"role {role_name('app')} has the default {setting} = {value}"


_TENANT_DEFAULTS = """
    SELECT CASE setrole WHEN 0 THEN 'the database' ELSE 'role ' || pg_get_userbyid(setrole) END
    FROM pg_db_role_setting, unnest(setconfig) AS setting WHERE starts_with(setting, %s)
"""

_APP_ROLE_DEFAULTS = """
    SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
    FROM pg_db_role_setting, unnest(setconfig) AS setting
    WHERE pg_get_userbyid(setrole) = current_user AND split_part(setting, '=', 1) = ANY(%s)
"""


def _function_findings(alias: str) -> Iterator[str]:
    """SECURITY DEFINER functions run as their owner: each must be declared with its callers."""
    declared = {name: set(callers) for name, callers in settings.TENANT_FUNCTIONS.items()}
    logical = {role_name(role): role for role in ("app", "operator", "lookup")}
    for name, path, bypasses_rls, callers in rows(alias, _DEFINERS, [list(logical)]):
        if name not in declared:
            yield f"function {name} is SECURITY DEFINER and not declared in TENANT_FUNCTIONS"
            continue
        if path != TRUSTED_PATH:
            yield f"function {name} is SECURITY DEFINER without SET {TRUSTED_PATH}"
        if bypasses_rls:
            yield f"function {name} is SECURITY DEFINER and its owner bypasses RLS"
        for caller in sorted({logical.get(caller, caller) for caller in callers} - declared[name]):
            yield f"function {name} may be executed by {role_name(caller)}"
    for (name,) in rows(alias, _LEAKPROOF):
        yield f"function {name} is LEAKPROOF: PostgreSQL may run it on rows before the policies are checked"


# if proacl is NULL, PUBLIC may execute
_DEFINERS = """
    SELECT pg_proc.oid::regprocedure::text, array_to_string(proconfig, ', '), rolsuper OR rolbypassrls,
        ARRAY(SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END
              FROM aclexplode(COALESCE(proacl, acldefault('f', proowner)))
              WHERE grantee = 0 OR pg_get_userbyid(grantee) = ANY(%s) AND grantee <> proowner)
    FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE prosecdef AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    ORDER BY 1
"""

_LEAKPROOF = """
    SELECT pg_proc.oid::regprocedure::text
    FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE proleakproof AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


def _view_findings(alias: str) -> Iterator[str]:
    """Views must apply the caller's policies. Materialized views have none."""
    for name, is_materialized in rows(alias, _VIEWS):
        problem = "is materialized: it has no policies" if is_materialized else "lacks security_invoker"
        yield f"view {name} {problem}"


_VIEWS = """
    SELECT pg_class.oid::regclass::text, relkind = 'm'
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND (relkind = 'm' OR relkind = 'v' AND NOT EXISTS (
        SELECT FROM unnest(reloptions) AS option WHERE option ~* '^security_invoker=(true|on|1|yes)$'))
    ORDER BY 1
"""


def _foreign_key_findings(alias: str) -> Iterator[str]:
    """Foreign keys between tenant tables must include the tenant: RLS does not apply to their checks."""
    tenants = {model._meta.db_table: tenant_column(model) for model in tenant_models(apps)}
    for name, table, columns, target, keys in rows(alias, _FOREIGN_KEYS):
        pair = (tenants.get(table), tenants.get(target))
        if all(pair) and pair not in zip(columns, keys, strict=True):
            yield f"table {table}: foreign key {name} to {target} lacks the tenant column"


_FOREIGN_KEYS = """
    SELECT conname, conrelid::regclass::text,
        ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k(n, i)
              JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i),
        confrelid::regclass::text,
        ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k(n, i)
              JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY i)
    FROM pg_constraint WHERE contype = 'f' ORDER BY 1
"""
