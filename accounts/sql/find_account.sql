-- For sign-in: the account that holds the address, and its password hash. Sets the tenant.
-- SECURITY INVOKER, so that RLS applies inside.
CREATE OR REPLACE FUNCTION find_account(address text) RETURNS TABLE (id uuid, password text)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    creator uuid := find_creator(address);
BEGIN
    PERFORM set_config('app.current_creator_id', coalesce(creator::text, ''), true);
    RETURN QUERY
    SELECT c.id, c.password::text FROM creators c WHERE c.id = creator AND c.is_active AND c.holds_email;
END $$;
