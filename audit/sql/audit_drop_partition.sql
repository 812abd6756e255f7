-- Drop the partition of a month, except of the last three months.
-- SECURITY DEFINER of the owner, so that the operator can call it. The check compares the name that is dropped
-- and not the date: "2026-11-01 BC" is an old date, but the name made of it ends in 202611.
CREATE OR REPLACE FUNCTION audit_drop_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped text := 'audit_logs_' || to_char(month, 'YYYYMM');
    kept text := 'audit_logs_' || to_char(now() AT TIME ZONE 'UTC' - interval '3 months', 'YYYYMM');
BEGIN
    IF (dropped ~ '^audit_logs_[0-9]{6}$' AND dropped COLLATE "C" < kept COLLATE "C") IS NOT TRUE THEN
        RAISE EXCEPTION 'the partitions of the last three months stay' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DROP TABLE public.%I', dropped);
END $$;
