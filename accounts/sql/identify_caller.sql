-- The creator whom an access token names, if the session is live and the token not revoked. Sets the tenant.
-- plpgsql runs the statements in order; in a single SELECT the planner could read rows before the tenant is
-- set. SECURITY INVOKER, so that RLS applies inside.
CREATE OR REPLACE FUNCTION identify_caller(creator uuid, session uuid, token uuid, idle interval)
RETURNS TABLE (
    id uuid, email text, display_name text, email_verified boolean,
    created_at timestamptz, last_login_at timestamptz, session_id uuid, email_undeliverable boolean
)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    RETURN QUERY
    SELECT c.id, c.email::text, c.display_name::text, c.email_verified_at IS NOT NULL,
           c.created_at, c.last_login, s.id,
           coalesce(c.email_undeliverable_at > coalesce(c.email_verified_at, '-infinity'), false)
    FROM sessions s JOIN creators c ON c.id = s.creator_id
    WHERE s.creator_id = creator AND s.id = session AND s.ended_at IS NULL AND s.expires_at > now()
      AND (idle IS NULL OR s.last_used_at > now() - idle)
      AND c.is_active AND c.holds_email
      AND NOT EXISTS (SELECT FROM jwt_blacklist b WHERE b.creator_id = creator AND b.id = token);
END $$;
