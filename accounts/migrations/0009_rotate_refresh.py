"""The rotation of a refresh token: one statement, one visit, one commit."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

# Its caller's rights, so every wall holds inside. The family's row is locked first: whoever else
# comes with a token of it waits here, and then sees what was done.
#   rotated   the token is spent, and this is its one successor
#   replayed  it was spent less than `grace` ago and its successor is unused: the same one again
#   reused    it is spent for good
#   (no row)  there is no such token of a living session
CREATE = """
CREATE FUNCTION rotate_refresh(
    creator uuid, family uuid, token uuid, successor uuid, signing_kid text,
    moment timestamptz, grace interval, idle interval
)
RETURNS TABLE (outcome text, id uuid, kid text, created_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    session public.sessions;
    spent_at timestamptz;
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    SELECT s.* INTO session
    FROM sessions s JOIN creators c ON c.id = s.creator_id
    WHERE s.creator_id = creator AND s.id = family AND s.ended_at IS NULL AND s.expires_at > moment
      AND (idle IS NULL OR s.last_used_at > moment - idle) AND c.is_active
    FOR UPDATE OF s;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE refresh_tokens t SET used_at = moment
    WHERE t.creator_id = creator AND t.id = token AND t.session_id = family AND t.used_at IS NULL;
    IF FOUND THEN
        UPDATE sessions s SET last_used_at = moment WHERE s.creator_id = creator AND s.id = family;
        INSERT INTO refresh_tokens (id, creator_id, session_id, parent_id, kid, created_at, expires_at)
        VALUES (successor, creator, family, token, signing_kid, moment, session.expires_at);
        RETURN QUERY SELECT 'rotated', successor, signing_kid, moment, session.expires_at;
        RETURN;
    END IF;
    SELECT t.used_at INTO spent_at FROM refresh_tokens t
    WHERE t.creator_id = creator AND t.id = token AND t.session_id = family;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT 'replayed', t.id, t.kid::text, t.created_at, t.expires_at FROM refresh_tokens t
    WHERE t.creator_id = creator AND t.parent_id = token AND t.used_at IS NULL
      AND moment - spent_at < grace;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'reused', token, ''::text, moment, moment;
    END IF;
END $$;
REVOKE ALL ON FUNCTION rotate_refresh(uuid, uuid, uuid, uuid, text, timestamptz, interval, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rotate_refresh(uuid, uuid, uuid, uuid, text, timestamptz, interval, interval) TO {app};
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_search_and_support")]

    operations = [
        RunRoleSQL(
            CREATE,
            "DROP FUNCTION rotate_refresh(uuid, uuid, uuid, uuid, text, timestamptz, interval, interval)",
        )
    ]
