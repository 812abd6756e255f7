-- Whether the caller must stay within the API's scope and `lockout_limits`. Raises for another scope.
-- A role that may write the tables itself, such as the operator, may use any scope and limits.
-- `session_user` is the role that connected, also inside a SECURITY DEFINER function.
CREATE OR REPLACE FUNCTION lockout_is_bounded(login_scope text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF has_table_privilege(session_user, 'public.login_reservations', 'INSERT') THEN
        RETURN false;
    END IF;
    IF login_scope IS DISTINCT FROM 'api' THEN
        RAISE EXCEPTION 'the scope % is for operators', login_scope USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN true;
END $$;
