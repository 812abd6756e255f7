-- Inserts a session with its first refresh token, and updates last_login. Sets the tenant.
-- Writes nothing and returns no row if the account's password hash is not `verified_hash` (NULL: no password
-- was verified): a password reset ends all sessions, and none may start after it with the old password.
-- `new_hash`, unless NULL, replaces the hash.
-- A device is new if the account has signed in before, but never from this device.
CREATE OR REPLACE FUNCTION start_session(
    creator uuid, verified_hash text, new_hash text, session uuid, token uuid, signing_kid text,
    started_at timestamptz, ends_at timestamptz, ip_address inet, user_agent text, device text
)
RETURNS TABLE (is_new_device boolean)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    UPDATE creators c SET last_login = started_at, password = coalesce(new_hash, c.password)
    WHERE c.id = creator AND c.is_active AND c.holds_email
      AND c.password = coalesce(verified_hash, c.password);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT
        EXISTS (SELECT FROM sessions s WHERE s.creator_id = creator)
        AND NOT EXISTS (
            SELECT FROM sessions s WHERE s.creator_id = creator AND s.device = start_session.device
        );
    INSERT INTO sessions
        (id, creator_id, created_at, last_used_at, expires_at, end_reason, ip_address, user_agent, device)
    VALUES (session, creator, started_at, started_at, ends_at, '',
            start_session.ip_address, start_session.user_agent, start_session.device);
    INSERT INTO refresh_tokens (id, creator_id, session_id, kid, created_at, expires_at)
    VALUES (token, creator, session, signing_kid, started_at, ends_at);
END $$;
