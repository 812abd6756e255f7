"""What stands around the tenant tables and could lead past their walls.

Like `isolation.py`: each function returns findings, one sentence each; none means that all is well.
"""

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings

from tenancy.constraints import role_name, tenant_column, tenant_models
from tenancy.context import TENANT_SETTING
from tenancy.roles import POWERS, RUNTIME_SETTINGS

from .schema import rows

TRUSTED_PATH = "search_path=pg_catalog, pg_temp"


def catalog_findings(alias: str) -> Iterator[str]:
    yield from _helper_findings(alias)
    yield from _room_findings(alias)
    yield from _function_findings(alias)
    yield from _view_findings(alias)
    yield from _foreign_key_findings(alias)


def _helper_findings(alias: str) -> Iterator[str]:
    """The other roles of the house: the walls hold them too, and the look-up's owner can't come in."""
    names = [role_name(role) for role in ("owner", "operator", "lookup")]
    for name, superuser, bypass, login in rows(
        alias,
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = ANY(%s)",
        [names],
    ):
        if superuser or bypass:
            yield f"role {name} {'is a superuser' if superuser else 'has BYPASSRLS'}"
        if login and name == role_name("lookup"):
            yield f"role {name} may log in"


def _room_findings(alias: str) -> Iterator[str]:
    """No room for the runtime role to build something of its own, and nothing that falls to it unasked."""
    for place, privilege in rows(alias, _ROOM):
        yield f"role {role_name('app')} holds {privilege} on {place}"
    for (place,) in rows(alias, _PRESETS, [f"{TENANT_SETTING}="]):
        yield f"{place} presets {TENANT_SETTING}: sessions without a tenant would have that one"
    for setting, value in rows(alias, _OWN_PRESETS, [list(RUNTIME_SETTINGS)]):
        if value != RUNTIME_SETTINGS[setting]:
            yield f"role {role_name('app')} presets {setting} = {value}"
    for (function,) in rows(alias, _POWERS, [POWERS]):
        yield f"role {role_name('app')} may call {function}"
    for (function,) in rows(alias, _ACTIVITY):
        yield f"role {role_name('app')} reads the statements of its other sessions with {function}"
    for grantee, privilege in rows(alias, _DEFAULT_PRIVILEGES, [[role_name("app"), role_name("lookup")]]):
        yield f"default privileges give {grantee} {privilege} on tables yet to come"


_ROOM = """
    SELECT 'the database', privilege FROM unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege
    WHERE has_database_privilege(current_database(), privilege)
    UNION ALL
    SELECT 'schema ' || nspname, 'CREATE' FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE')
"""

_ACTIVITY = """
    SELECT name FROM unnest(ARRAY['pg_stat_get_activity', 'pg_stat_get_backend_activity']) AS name
    WHERE has_function_privilege('pg_catalog.' || name || '(integer)', 'EXECUTE')
        AND current_setting('track_activities') = 'on'
"""

_PRESETS = """
    SELECT CASE setrole WHEN 0 THEN 'the database' ELSE 'role ' || pg_get_userbyid(setrole) END
    FROM pg_db_role_setting, unnest(setconfig) AS setting WHERE starts_with(setting, %s)
"""

_OWN_PRESETS = """
    SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
    FROM pg_db_role_setting, unnest(setconfig) AS setting
    WHERE pg_get_userbyid(setrole) = current_user AND split_part(setting, '=', 1) = ANY(%s)
"""

_POWERS = """
    SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND proname ~ %s AND has_function_privilege(oid, 'EXECUTE')
    ORDER BY 1
"""

_DEFAULT_PRIVILEGES = """
    SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type
    FROM pg_default_acl, aclexplode(defaclacl)
    WHERE defaclobjtype = 'r' AND (grantee = 0 OR pg_get_userbyid(grantee) = ANY(%s))
"""


def _function_findings(alias: str) -> Iterator[str]:
    """A SECURITY DEFINER function sees what its owner sees: each is declared, with those who may call it."""
    declared = {name: set(callers) for name, callers in settings.TENANT_FUNCTIONS.items()}
    logical = {role_name(role): role for role in ("app", "operator", "lookup")}
    for name, path, strong, callers in rows(alias, _DEFINERS, [list(logical)]):
        if name not in declared:
            yield f"function {name} is SECURITY DEFINER and not declared in TENANT_FUNCTIONS"
            continue
        if path != TRUSTED_PATH:
            yield f"function {name} is SECURITY DEFINER without SET {TRUSTED_PATH}"
        if strong:
            yield f"function {name} is SECURITY DEFINER and its owner is above the walls"
        for caller in sorted({logical.get(caller, caller) for caller in callers} - declared[name]):
            yield f"function {name} may be called by {role_name(caller)}"
    for (name,) in rows(alias, _LEAKPROOF):
        yield f"function {name} is LEAKPROOF: policies would let it see other tenants' rows"


# an ACL of NULL is the default one: everybody may execute
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
    """A view asks with its owner's eyes unless it says otherwise; a materialized one keeps what it saw."""
    for name, materialized in rows(alias, _VIEWS):
        why = "is materialized: its rows have no walls" if materialized else "lacks security_invoker"
        yield f"view {name} {why}"


_VIEWS = """
    SELECT pg_class.oid::regclass::text, relkind = 'm'
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    AND (relkind = 'm' OR relkind = 'v' AND NOT EXISTS (
        SELECT FROM unnest(reloptions) AS option WHERE option ~* '^security_invoker=(true|on|1|yes)$'))
    ORDER BY 1
"""


def _foreign_key_findings(alias: str) -> Iterator[str]:
    """PostgreSQL checks references past every policy: between tenant tables they name the tenant."""
    tenants = {model._meta.db_table: tenant_column(model) for model in tenant_models(apps)}
    for name, table, columns, target, keys in rows(alias, _FOREIGN_KEYS):
        if table in tenants and target in tenants:
            pairs = set(zip(columns, keys, strict=True))
            if (tenants[table], tenants[target]) not in pairs:
                yield f"table {table}: reference {name} to {target} leaves the tenant out"


_FOREIGN_KEYS = """
    SELECT conname, conrelid::regclass::text,
        ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k(n, i)
              JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i),
        confrelid::regclass::text,
        ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS k(n, i)
              JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY i)
    FROM pg_constraint WHERE contype = 'f' ORDER BY 1
"""
