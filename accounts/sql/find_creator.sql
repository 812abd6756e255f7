-- From an e-mail address to the account that holds it: the one read across tenants.
-- Its owner, the lookup role, can't log in and reads a few columns, never the password hash. The id of
-- a staff member tells nothing: the app role sees no such row.
CREATE OR REPLACE FUNCTION find_creator(address text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM public.creators WHERE email = address AND holds_email);
END $$;
