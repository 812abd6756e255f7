-- Deletes the personal data of an account's events together with the account, whatever statement deletes it.
-- Also deletes those of events without an account at addresses that the account has verified, unless another
-- account holds the address now. An unverified address may be a stranger's, so its events keep their data.
CREATE OR REPLACE FUNCTION creators_erase_personal_data() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    addresses text[];
BEGIN
    DELETE FROM public.audit_personal_data WHERE creator_id = OLD.id;
    IF NOT OLD.holds_email THEN
        RETURN OLD;
    END IF;
    SELECT array_agg(address) INTO addresses FROM (
        SELECT OLD.email WHERE OLD.email_verified_at IS NOT NULL
        UNION SELECT unnest(ARRAY[old_email, new_email]) FROM public.email_changes
        WHERE creator_id = OLD.id AND confirmed_at IS NOT NULL
    ) AS own (address)
    WHERE NOT EXISTS (
        SELECT FROM public.creators AS c WHERE c.email = own.address AND c.holds_email AND c.id <> OLD.id);
    DELETE FROM public.audit_personal_data AS personal
    WHERE personal.email = ANY(addresses) AND personal.email <> ''
        AND NOT EXISTS (SELECT FROM public.creators AS c WHERE c.id = personal.creator_id);
    DELETE FROM public.axes_accessattempt WHERE username = ANY(addresses) AND user_agent = 'api';
    RETURN OLD;
END $$;

CREATE OR REPLACE TRIGGER creators_erase_personal_data BEFORE DELETE ON creators
    FOR EACH ROW EXECUTE FUNCTION creators_erase_personal_data();
