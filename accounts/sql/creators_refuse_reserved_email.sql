-- Refuses an address that is reserved because a change from it to another can still be undone. Raises a
-- unique violation, as the index on the address does. An AFTER trigger, so that it sees the rows of the
-- transaction that the index made it wait for. Owned by the lookup role, which sees all tenants' changes.
CREATE OR REPLACE FUNCTION creators_refuse_reserved_email() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.email_changes c
        WHERE c.old_email = NEW.email AND c.creator_id <> NEW.id
          AND c.confirmed_at IS NOT NULL AND c.undone_at IS NULL AND c.undo_expires_at > now()
    ) THEN
        RAISE unique_violation USING
            MESSAGE = 'the address is reserved while its change can be undone',
            TABLE = 'creators', CONSTRAINT = 'creators_email_reserved';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER creators_email_reserved AFTER INSERT OR UPDATE OF email, holds_email ON creators
    FOR EACH ROW WHEN (NEW.holds_email) EXECUTE FUNCTION creators_refuse_reserved_email();
