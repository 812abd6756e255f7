-- Resets the failures at an address to 0.
-- The app role can do so only for the address that the current tenant holds, as after a password reset.
CREATE OR REPLACE FUNCTION lockout_unlock(login_scope text, address text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF public.lockout_is_bounded(login_scope) AND NOT EXISTS (
        SELECT FROM public.creators WHERE email = address AND holds_email
            AND id::text = current_setting('app.current_creator_id', true)
    ) THEN
        RETURN;
    END IF;
    UPDATE public.axes_accessattempt SET failures_since_start = 0
        WHERE username = address AND user_agent = login_scope;
END $$;
