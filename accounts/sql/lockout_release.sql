-- Deletes a reservation without a result. The app role can release only those of the API's scope.
CREATE OR REPLACE FUNCTION lockout_release(reservation uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM public.login_reservations WHERE id = reservation
        AND (scope = 'api' OR has_table_privilege(session_user, 'public.login_reservations', 'INSERT'))
$$;
