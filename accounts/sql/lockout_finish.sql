-- Records the result of a reserved verification, and returns the number of failures.
-- Returns NULL if the reservation has expired or is for another address. The result must then be discarded:
-- another attempt may have taken its place under the limit.
-- In the table of django-axes, username holds the address and user_agent the scope.
CREATE OR REPLACE FUNCTION lockout_finish(login_scope text, address text, reservation uuid, failed boolean)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    failures integer;
BEGIN
    PERFORM public.lockout_is_bounded(login_scope);
    PERFORM pg_advisory_xact_lock(hashtextextended(login_scope || ':' || address, 0));
    DELETE FROM public.login_reservations
        WHERE id = reservation AND username = address AND scope = login_scope;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.axes_accessattempt
        SET failures_since_start = CASE WHEN failed THEN failures_since_start + 1 ELSE 0 END,
            attempt_time = CASE WHEN failed THEN clock_timestamp() ELSE attempt_time END
        WHERE username = address AND user_agent = login_scope
        RETURNING failures_since_start INTO failures;
    IF failures IS NULL AND failed THEN
        INSERT INTO public.axes_accessattempt
            (username, user_agent, ip_address, http_accept, path_info, attempt_time, get_data, post_data,
             failures_since_start)
            VALUES (address, login_scope, NULL, '', '', clock_timestamp(), '', '', 1);
        failures := 1;
    END IF;
    RETURN coalesce(failures, 0);
END $$;
