-- Create the missing partitions of this month and the next `months` months; returns how many were created.
-- SECURITY DEFINER of the owner, so that the operator can call it. A month that already has events in
-- audit_logs_other stays there.
CREATE OR REPLACE FUNCTION audit_ensure_partitions(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
                PERFORM public.audit_protect_partition(name);
                made := made + 1;
            EXCEPTION WHEN check_violation THEN
                RAISE WARNING '% can''t be made: audit_logs_other holds events of that month', name;
            END;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;
