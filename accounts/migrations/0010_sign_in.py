"""What a sign-in reads and what it writes: one statement each."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

# Their caller's rights, so every wall holds inside.
ACCOUNT_OF = """
CREATE FUNCTION account_of(address text) RETURNS TABLE (id uuid, password text)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    creator uuid := find_creator(address);
BEGIN
    PERFORM set_config('app.current_creator_id', coalesce(creator::text, ''), true);
    RETURN QUERY
    SELECT c.id, c.password::text FROM creators c WHERE c.id = creator AND c.is_active AND c.holds_email;
END $$;
REVOKE ALL ON FUNCTION account_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_of(text) TO {app};
"""

# Only where the password is still the one that was looked at (NULL: none was): a reset that finished in
# the meantime has ended all sessions, and none may begin behind its back. A device is new where
# somebody has signed in before, but never from such a one. No row where nothing was begun.
START_SESSION = """
CREATE FUNCTION start_session(
    creator uuid, looked_at text, upgraded text, session uuid, token uuid, signing_kid text,
    moment timestamptz, ends timestamptz, address inet, agent text, from_device text
)
RETURNS TABLE (is_new_device boolean)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    UPDATE creators c SET last_login = moment, password = coalesce(upgraded, c.password)
    WHERE c.id = creator AND c.is_active AND c.holds_email AND c.password = coalesce(looked_at, c.password);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT
        EXISTS (SELECT FROM sessions s WHERE s.creator_id = creator)
        AND NOT EXISTS (SELECT FROM sessions s WHERE s.creator_id = creator AND s.device = from_device);
    INSERT INTO sessions
        (id, creator_id, created_at, last_used_at, expires_at, end_reason, ip_address, user_agent, device)
    VALUES (session, creator, moment, moment, ends, '', address, agent, from_device);
    INSERT INTO refresh_tokens (id, creator_id, session_id, kid, created_at, expires_at)
    VALUES (token, creator, session, signing_kid, moment, ends);
END $$;
REVOKE ALL ON FUNCTION {name} FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {name} TO {app};
"""
NAME = "start_session(uuid, text, text, uuid, uuid, text, timestamptz, timestamptz, inet, text, text)"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_rotate_refresh"), ("audit", "0006_record_event")]

    operations = [
        RunRoleSQL(ACCOUNT_OF, "DROP FUNCTION account_of(text)"),
        RunRoleSQL(START_SESSION.replace("{name}", NAME), f"DROP FUNCTION {NAME}"),
    ]
