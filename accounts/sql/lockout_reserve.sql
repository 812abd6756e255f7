-- Reserves one verification of a password for an address.
--   go      reserved: verify the password, then call lockout_finish
--   wait    as many verifications are under way as failures are left
--   locked  until `locked_until`
-- The app role may pass stricter limits than those in `lockout_limits`, not laxer ones; if that table is empty,
-- the settings' defaults apply. Calls for the same address and scope run one at a time, under an advisory lock.
-- clock_timestamp() gives the time after the wait for that lock; now() would be the time before it.
CREATE OR REPLACE FUNCTION lockout_reserve(
    login_scope text, address text, reservation uuid, max_failures integer, lock_duration interval,
    lease interval, OUT verdict text, OUT locked_until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decided_at timestamptz;
    failures integer;
    last_failure timestamptz;
    in_flight integer;
BEGIN
    IF public.lockout_is_bounded(login_scope) THEN
        SELECT least(max_failures, coalesce(max(attempts), 5)),
               greatest(lock_duration, coalesce(max(duration), '30 minutes'))
            INTO max_failures, lock_duration FROM public.lockout_limits;
        lease := least(lease, interval '20 seconds');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(login_scope || ':' || address, 0));
    decided_at := clock_timestamp();
    SELECT failures_since_start, attempt_time INTO failures, last_failure
        FROM public.axes_accessattempt WHERE username = address AND user_agent = login_scope;
    IF last_failure + lock_duration <= decided_at THEN
        UPDATE public.axes_accessattempt SET failures_since_start = 0
            WHERE username = address AND user_agent = login_scope;
        failures := 0;
    END IF;
    failures := coalesce(failures, 0);
    IF failures >= max_failures THEN
        verdict := 'locked';
        locked_until := last_failure + lock_duration;
        RETURN;
    END IF;
    DELETE FROM public.login_reservations
        WHERE username = address AND scope = login_scope AND expires_at <= decided_at;
    SELECT count(*) INTO in_flight FROM public.login_reservations
        WHERE username = address AND scope = login_scope;
    IF failures + in_flight >= max_failures THEN
        verdict := 'wait';
        RETURN;
    END IF;
    INSERT INTO public.login_reservations (id, scope, username, expires_at)
        VALUES (reservation, login_scope, address, decided_at + lease);
    verdict := 'go';
END $$;
