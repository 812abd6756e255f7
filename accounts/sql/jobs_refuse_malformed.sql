-- Refuses jobs that the worker can't parse. The app role may insert jobs, and a malformed one would stop the
-- worker, and all mail, each time.
CREATE OR REPLACE FUNCTION jobs_refuse_malformed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (
        NEW.status = 'READY' AND NEW.backend_name = 'default' AND NEW.worker_ids = '[]'::jsonb
        AND NEW.started_at IS NULL AND NEW.finished_at IS NULL
        AND NEW.enqueued_at BETWEEN '2000-01-01Z' AND now() + interval '1 day'
        AND NEW.run_after BETWEEN '2000-01-01Z' AND '9999-12-31 23:59:59.999999Z'
        AND jsonb_typeof(NEW.args_kwargs -> 'args') = 'array'
        AND jsonb_typeof(NEW.args_kwargs -> 'kwargs') = 'object'
    ) IS NOT TRUE THEN
        RAISE check_violation USING MESSAGE = 'not a job that waits to be done';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER jobs_refuse_malformed BEFORE INSERT ON django_tasks_database_dbtaskresult
    FOR EACH ROW EXECUTE FUNCTION jobs_refuse_malformed();
