-- Enable RLS and the append-only triggers on a partition, in case a role is ever granted access to it.
CREATE OR REPLACE FUNCTION audit_protect_partition(partition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE public.%1$I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', partition);
    EXECUTE format('CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON public.%1$I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse_change()', partition);
    EXECUTE format('ALTER TABLE public.%1$I ENABLE ALWAYS TRIGGER audit_logs_append_only, '
                   'ENABLE ALWAYS TRIGGER audit_logs_no_truncate', partition);
END $$;
