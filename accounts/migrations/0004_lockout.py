"""The count of failed sign-ins, as functions that the app may call and whose tables it can't see."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

# Everything about one address at one door happens under one lock; clock_timestamp(), because
# whoever waited for it must not judge by the time at which it began to wait.
CREATE = """
CREATE FUNCTION lockout_reserve(
    at_door text, address text, reservation uuid, most integer, lock_time interval, lease interval,
    OUT verdict text, OUT until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz;
    failures integer;
    last_failure timestamptz;
    in_flight integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(at_door || ':' || address, 0));
    moment := clock_timestamp();
    SELECT failures_since_start, attempt_time INTO failures, last_failure
        FROM public.axes_accessattempt WHERE username = address AND user_agent = at_door;
    IF last_failure + lock_time <= moment THEN
        UPDATE public.axes_accessattempt SET failures_since_start = 0
            WHERE username = address AND user_agent = at_door;
        failures := 0;
    END IF;
    failures := coalesce(failures, 0);
    IF failures >= most THEN
        verdict := 'locked';
        until := last_failure + lock_time;
        RETURN;
    END IF;
    DELETE FROM public.login_reservations WHERE username = address AND door = at_door AND expires_at <= moment;
    SELECT count(*) INTO in_flight FROM public.login_reservations WHERE username = address AND door = at_door;
    IF failures + in_flight >= most THEN
        verdict := 'wait';
        RETURN;
    END IF;
    INSERT INTO public.login_reservations (id, door, username, expires_at)
        VALUES (reservation, at_door, address, moment + lease);
    verdict := 'go';
END $$;

-- Returns the failures there are now; NULL where the lease ended before the verdict: somebody else
-- may have had the place since, and nobody shall learn more verdicts than there are places.
CREATE FUNCTION lockout_settle(at_door text, address text, reservation uuid, failed boolean) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    failures integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(at_door || ':' || address, 0));
    DELETE FROM public.login_reservations WHERE id = reservation;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.axes_accessattempt
        SET failures_since_start = CASE WHEN failed THEN failures_since_start + 1 ELSE 0 END,
            attempt_time = CASE WHEN failed THEN clock_timestamp() ELSE attempt_time END
        WHERE username = address AND user_agent = at_door
        RETURNING failures_since_start INTO failures;
    IF failures IS NULL AND failed THEN
        INSERT INTO public.axes_accessattempt
            (username, user_agent, ip_address, http_accept, path_info, attempt_time, get_data, post_data,
             failures_since_start)
            VALUES (address, at_door, NULL, '', '', clock_timestamp(), '', '', 1);
        failures := 1;
    END IF;
    RETURN coalesce(failures, 0);
END $$;

CREATE FUNCTION lockout_release(reservation uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM public.login_reservations WHERE id = reservation
$$;

CREATE FUNCTION lockout_lift(at_door text, address text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.axes_accessattempt SET failures_since_start = 0
        WHERE username = address AND user_agent = at_door
$$;
"""

FUNCTIONS = (
    "lockout_reserve(text, text, uuid, integer, interval, interval)",
    "lockout_settle(text, text, uuid, boolean)",
    "lockout_release(uuid)",
    "lockout_lift(text, text)",
)
OWN = "".join(
    f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {name} TO {{app}}, {{operator}};"
    f"ALTER FUNCTION {name} OWNER TO {{lookup}};"
    for name in FUNCTIONS
)
DROP = "".join(f"DROP FUNCTION {name};" for name in FUNCTIONS)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_limits_and_notices"), ("axes", "0010_accessattemptexpiration")]

    operations = [
        RunRoleSQL(
            f"{CREATE} GRANT CREATE ON SCHEMA public TO {{lookup}}; {OWN}"
            "REVOKE CREATE ON SCHEMA public FROM {lookup};",
            DROP,
        )
    ]
