-- The id of the account that holds an email address: the only read across tenants that the app role can do.
-- The function's owner, the lookup role, can't log in, and can read a few columns without the password hash.
-- It also finds staff, but the app role can't use their ids: RLS hides their rows.
CREATE OR REPLACE FUNCTION find_creator(address text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT id FROM public.creators WHERE email = address AND holds_email);
END $$;
