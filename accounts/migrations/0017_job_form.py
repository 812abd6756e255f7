"""Jobs have the form that the worker reads, whatever a statement of the app's role puts into the queue."""

from django.db import migrations

# The app's role may insert jobs. One that the worker can't read would stop it each time, and with it all mail.
CREATE = """
CREATE FUNCTION jobs_refuse_odd_form() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
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
CREATE TRIGGER jobs_refuse_odd_form BEFORE INSERT ON django_tasks_database_dbtaskresult
    FOR EACH ROW EXECUTE FUNCTION jobs_refuse_odd_form();
"""
DROP = """
DROP TRIGGER jobs_refuse_odd_form ON django_tasks_database_dbtaskresult;
DROP FUNCTION jobs_refuse_odd_form();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0016_bounded_functions"),
        ("django_tasks_database", "0021_conditional_partial_index_ordering"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
