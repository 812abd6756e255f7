"""The book's triggers and its monthly partitions."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

APPEND_ONLY = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_logs is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER audit_logs_append_only;
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER audit_logs_no_truncate;
"""

# Walls and triggers of a partition's own: nobody but the owner is granted it, and it is shut even so.
PARTITIONS = """
CREATE FUNCTION audit_seal_partition(partition text) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE public.%1$I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition);
    EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON public.%1$I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse_change()', partition);
    EXECUTE format('ALTER TABLE public.%1$I ENABLE ALWAYS TRIGGER audit_logs_append_only, '
                   'ENABLE ALWAYS TRIGGER audit_logs_no_truncate', partition);
END $$;

CREATE FUNCTION audit_lowest_id(month timestamp) RETURNS uuid LANGUAGE sql
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The owner's, so that the operator can have partitions made ahead of time. Returns how many it made.
-- A month whose events went to audit_logs_other already stays there.
CREATE FUNCTION audit_ensure_partitions(months integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    last timestamp := month + make_interval(months => least(months, 24));
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_ensure_partitions'));
    WHILE month <= last LOOP
        name := 'audit_logs_' || to_char(month, 'YYYYMM');
        IF to_regclass('public.' || name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE public.%I PARTITION OF public.audit_logs FOR VALUES FROM (%L) TO (%L)',
                    name, public.audit_lowest_id(month), public.audit_lowest_id(month + interval '1 month'));
                PERFORM public.audit_seal_partition(name);
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                RAISE WARNING '% can''t be made: audit_logs_other holds events of that month', name;
            END;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;

-- For the day when nobody made a partition in time: no event is ever lost.
CREATE TABLE audit_logs_other PARTITION OF audit_logs DEFAULT;
SELECT audit_seal_partition('audit_logs_other');
SELECT audit_ensure_partitions(3);
REVOKE ALL ON FUNCTION audit_ensure_partitions(integer), audit_seal_partition(text), audit_lowest_id(timestamp),
    audit_refuse_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_ensure_partitions(integer) TO {operator};
"""

DROP_PARTITIONS = """
DROP TABLE audit_logs_other;
DROP FUNCTION audit_ensure_partitions(integer);
DROP FUNCTION audit_lowest_id(timestamp);
DROP FUNCTION audit_seal_partition(text);
"""

DROP_APPEND_ONLY = """
DROP TRIGGER audit_logs_append_only ON audit_logs;
DROP FUNCTION audit_refuse_change() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        RunRoleSQL(APPEND_ONLY, DROP_APPEND_ONLY),
        RunRoleSQL(PARTITIONS, DROP_PARTITIONS),
    ]
