"""Settings of the app `tenancy` that do not depend on the environment."""

TENANT_RESOLVER = "accounts.api.authentication.resolve_tenant"
TENANT_OPERATOR_TABLES = [
    "creators_groups",
    "creators_user_permissions",
]  # of operators only: the app role gets no grant
_ALL = ["SELECT", "INSERT", "UPDATE", "DELETE"]
TENANT_GRANTS = {
    "app": {"django_tasks_database.dbtaskresult": ["INSERT"]},
    "lookup": {"axes.accessattempt": ["SELECT", "INSERT", "UPDATE", "DELETE"]},
    "operator": {
        "accounts.creator_groups": _ALL,
        "accounts.creator_user_permissions": _ALL,
        "admin": _ALL,
        "auth": _ALL,
        "axes": _ALL,
        "contenttypes": ["SELECT"],
        "django_tasks_database": _ALL,
        "sessions": _ALL,
    },
}
# SECURITY DEFINER functions and the roles that may call them
TENANT_FUNCTIONS = {
    "find_creator(text)": ["app", "operator"],
    "creators_refuse_reserved_email()": [],  # called by a trigger
    "lockout_reserve(text,text,uuid,integer,interval,interval)": ["app", "operator"],
    "lockout_finish(text,text,uuid,boolean)": ["app", "operator"],
    "lockout_release(uuid)": ["app", "operator"],
    "lockout_unlock(text,text)": ["app", "operator"],
    "audit_drop_partition(date)": ["operator"],
    "audit_ensure_partitions(integer)": ["operator"],
    "record_event(uuid,text,text,jsonb,inet,text,text)": ["app", "operator"],
    "events_at_own_address(uuid,integer)": ["app", "operator"],
    "creators_erase_personal_data()": [],  # called by a trigger
}

_EVENT = "SELECT record_event(%(tenant)s, 'probe', '', '{}', NULL, '', '')"
# how `check_isolation` gets a row of a table into which the app role may not INSERT
TENANT_WRITERS = {"audit.AuditLog": _EVENT, "audit.PersonalData": _EVENT}
# statements that `check_isolation` expects to fail for the app role, for every tenant
TENANT_REFUSED = {
    "unlock an operator": "SELECT lockout_unlock('admin', 'x@example.com')",
    "count an attempt in an operators' scope": (
        "SELECT lockout_reserve('admin', 'x@example.com', gen_random_uuid(), 1, '1 day', '1 day')"
    ),
    "finish an attempt in an operators' scope": (
        "SELECT lockout_finish('second_factor', 'x@example.com', gen_random_uuid(), true)"
    ),
    "change the limits of the lockout": "UPDATE lockout_limits SET attempts = 100",
    "erase personal data": "DELETE FROM audit_personal_data",
    "insert an event without record_event": (
        "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), now(), 'probe', '', '{}')"
    ),
    "record an event of another tenant": (
        "SELECT set_config('app.current_creator_id', gen_random_uuid()::text, true); "
        "SELECT record_event(gen_random_uuid(), 'probe', '', '{}', NULL, '', '')"
    ),
    "drop a partition of the audit log": "SELECT audit_drop_partition('2001-01-01')",
}
