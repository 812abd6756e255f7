"""Who is calling: enters the tenant and reads the caller in one statement, one visit to the server."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

# Its caller's rights, so every wall holds inside. plpgsql, because its statements run one after the
# other: in one SELECT the planner may read rows before it sets the tenant.
CREATE = """
CREATE FUNCTION caller_of(creator uuid, session uuid, token uuid, idle interval)
RETURNS TABLE (
    id uuid, email text, display_name text, email_verified boolean,
    created_at timestamptz, last_login_at timestamptz, session_id uuid
)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.current_creator_id', creator::text, true);
    RETURN QUERY
    SELECT c.id, c.email::text, c.display_name::text, c.email_verified_at IS NOT NULL,
           c.created_at, c.last_login, s.id
    FROM sessions s JOIN creators c ON c.id = s.creator_id
    WHERE s.creator_id = creator AND s.id = session AND s.ended_at IS NULL AND s.expires_at > now()
      AND (idle IS NULL OR s.last_used_at > now() - idle)
      AND c.is_active AND c.holds_email
      AND NOT EXISTS (SELECT FROM jwt_blacklist b WHERE b.creator_id = creator AND b.id = token);
END $$;
REVOKE ALL ON FUNCTION caller_of(uuid, uuid, uuid, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION caller_of(uuid, uuid, uuid, interval) TO {app}, {operator};
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_owners_and_resource_servers")]

    operations = [RunRoleSQL(CREATE, "DROP FUNCTION caller_of(uuid, uuid, uuid, interval)")]
