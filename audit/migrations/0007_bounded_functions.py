"""Events are written by one function alone, which computes what the caller could get wrong or forge."""

from importlib import import_module

from django.db import migrations

from tenancy.constraints import Grant, Policy
from tenancy.operations import RunRoleSQL

# The rights of the lookup role, so that no other role needs INSERT. Id and time are the database's: an id
# of another time would make `verify_audit` report the event for ever, and so would a digest that does not
# match. The digest is audit.recorder.personal_digest's: jsonb writes an array as Python's json.dumps does.
# The rest of the id is RFC 9562's UUIDv7 with the fraction of the millisecond (method 3), so that the
# events of one session sort as they were written. Inside a scope the event is of its tenant.
RECORD = """
CREATE FUNCTION record_event(
    tenant uuid, kind text, request text, facts jsonb, address inet, agent text, mail text
) RETURNS uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment numeric := extract(epoch FROM clock_timestamp()) * 1000;
    event uuid := (lpad(to_hex(floor(moment)::bigint), 12, '0') || '7'
        || lpad(to_hex(floor(moment % 1 * 4096)::integer), 3, '0')
        || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid;
    salt bytea := uuid_send(gen_random_uuid());
    personal text := jsonb_build_array(host(address), agent, mail)::text;
BEGIN
    IF tenant::text <> nullif(current_setting('app.current_creator_id', true), '') THEN
        RAISE EXCEPTION 'an event of another tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO public.audit_logs (id, creator_id, at, type, request_id, detail, personal_digest)
    VALUES (event, tenant, to_timestamp(floor(moment) / 1000), kind, request, facts,
            sha256(salt || convert_to(personal, 'UTF8')));
    INSERT INTO public.audit_personal_data (id, creator_id, salt, ip_address, user_agent, email)
    VALUES (event, tenant, salt, address, agent, mail);
    RETURN event;
END $$;
REVOKE ALL ON FUNCTION {name} FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {name} TO {app}, {operator};
GRANT CREATE ON SCHEMA public TO {lookup};
ALTER FUNCTION {name} OWNER TO {lookup};
REVOKE CREATE ON SCHEMA public FROM {lookup};
"""
NAME = "record_event(uuid, text, text, jsonb, inet, text, text)"

# The one that the release before calls, until a later migration drops it.
BEFORE = """
CREATE OR REPLACE FUNCTION record_event(
    event uuid, tenant uuid, moment timestamptz, kind text, request text, facts jsonb, digest bytea,
    salt bytea, address inet, agent text, mail text
) RETURNS void LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM record_event(tenant, kind, request, facts, address, agent, mail);
END $$;
"""

# The name that is compared is the name that is dropped. A date could say "2026-11-01 BC", which is old, and
# be written 202611, which is not.
DROP_PARTITION = """
CREATE OR REPLACE FUNCTION audit_drop_partition(month date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped text := 'audit_logs_' || to_char(month, 'YYYYMM');
    kept text := 'audit_logs_' || to_char(now() AT TIME ZONE 'UTC' - interval '3 months', 'YYYYMM');
BEGIN
    IF (dropped ~ '^audit_logs_[0-9]{6}$' AND dropped COLLATE "C" < kept COLLATE "C") IS NOT TRUE THEN
        RAISE EXCEPTION 'the pages of the last three months stay' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DROP TABLE public.%I', dropped);
END $$;
"""

before_partition = import_module("audit.migrations.0005_seals").DROP_PARTITION
before_record = import_module("audit.migrations.0006_record_event").CREATE


def replaced(sql: str) -> str:
    """The function as an earlier migration has it, without its grants, which stay."""
    return sql.partition("REVOKE ALL ON FUNCTION")[0].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


RECORDED = "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)"
GRANTS = {
    "auditlog": {
        "audit_logs_app_grant": ("app", ["SELECT"]),
        "audit_logs_operator_grant": ("operator", ["SELECT"]),
        "audit_logs_lookup_grant": ("lookup", ["SELECT", RECORDED]),
    },
    "personaldata": {
        "audit_personal_data_app_grant": ("app", ["SELECT"]),
        "audit_personal_data_operator_grant": ("operator", ["SELECT", "DELETE"]),
        "audit_personal_data_lookup_grant": ("lookup", ["SELECT", "INSERT", "DELETE"]),
    },
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0006_record_event")]

    operations = [
        *(
            migrations.RemoveConstraint(model_name=model, name=name)
            for model, grants in GRANTS.items()
            for name, (role, _) in grants.items()
            if role != "lookup"
        ),
        *(
            migrations.AddConstraint(model, Policy(name=name, role="lookup", expression="true"))
            for model, name in {
                "auditlog": "audit_logs_lookup",
                "personaldata": "audit_personal_data_lookup",
            }.items()
        ),
        *(
            migrations.AddConstraint(model, Grant(name=name, role=role, privileges=privileges))
            for model, grants in GRANTS.items()
            for name, (role, privileges) in grants.items()
        ),
        RunRoleSQL(RECORD.replace("{name}", NAME), f"DROP FUNCTION {NAME}"),
        RunRoleSQL(BEFORE, replaced(before_record)),
        RunRoleSQL(DROP_PARTITION, replaced(before_partition)),
    ]
