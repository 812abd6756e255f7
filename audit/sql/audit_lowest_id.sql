-- The lowest UUIDv7 of a time: the lower bound of a partition.
CREATE OR REPLACE FUNCTION audit_lowest_id(month timestamp) RETURNS uuid
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
