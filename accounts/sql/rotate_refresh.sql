-- Rotates a refresh token (RFC 9700 § 4.14.2) in one round trip and one commit. Sets the tenant.
--   rotated   the token was unused; the row is its new successor
--   replayed  it was used less than `grace` ago and its successor is unused; the row is that successor
--   reused    it was used before
--   (no row)  there is no such token of a live session
-- Locks the account's row before the session's, as a deletion of the account does. A concurrent call for the
-- same session waits for the lock, and then sees the result of this one.
CREATE OR REPLACE FUNCTION rotate_refresh(
    creator uuid, family uuid, token uuid, successor uuid, signing_kid text,
    used_now timestamptz, grace interval, idle interval
)
RETURNS TABLE (outcome text, id uuid, kid text, created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    session public.sessions;
    used_before timestamptz;
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    SELECT s.* INTO session
    FROM sessions s JOIN creators c ON c.id = s.creator_id
    WHERE s.creator_id = creator AND s.id = family AND s.ended_at IS NULL AND s.expires_at > used_now
      AND (idle IS NULL OR s.last_used_at > used_now - idle) AND c.is_active
    FOR KEY SHARE OF c FOR UPDATE OF s;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE refresh_tokens t SET used_at = used_now
    WHERE t.creator_id = creator AND t.id = token AND t.session_id = family AND t.used_at IS NULL;
    IF FOUND THEN
        UPDATE sessions s SET last_used_at = used_now WHERE s.creator_id = creator AND s.id = family;
        INSERT INTO refresh_tokens (id, creator_id, session_id, parent_id, kid, created_at, expires_at)
        VALUES (successor, creator, family, token, signing_kid, used_now, session.expires_at);
        RETURN QUERY SELECT 'rotated', successor, signing_kid, used_now, session.expires_at;
        RETURN;
    END IF;
    SELECT t.used_at INTO used_before FROM refresh_tokens t
    WHERE t.creator_id = creator AND t.id = token AND t.session_id = family;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT 'replayed', t.id, t.kid::text, t.created_at, t.expires_at FROM refresh_tokens t
    WHERE t.creator_id = creator AND t.parent_id = token AND t.used_at IS NULL
      AND used_now - used_before < grace;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'reused', token, ''::text, used_now, used_now;
    END IF;
END $$;
