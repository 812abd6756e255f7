"""The one look across tenants: from an e-mail address to the account that holds it."""

from django.db import migrations

from tenancy.operations import RunRoleSQL

# Owned by a role that can't log in and may read three columns; never the hash. A staff member's id
# says nothing: the app sees no such row.
CREATE = """
CREATE FUNCTION find_creator(address text) RETURNS uuid LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM public.creators WHERE email = address AND holds_email);
END $$;
REVOKE ALL ON FUNCTION find_creator(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_creator(text) TO {app}, {operator};
GRANT CREATE ON SCHEMA public TO {lookup};
ALTER FUNCTION find_creator(text) OWNER TO {lookup};
REVOKE CREATE ON SCHEMA public FROM {lookup};
"""
DROP = "DROP FUNCTION find_creator(text)"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [RunRoleSQL(CREATE, DROP)]
