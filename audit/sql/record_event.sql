-- Write one event and return its id. SECURITY DEFINER of the lookup role, so that no other role needs INSERT.
-- Id, time and digest are computed here: a caller that chose them could make `verify_audit` report the event.
-- The digest equals audit.recorder.personal_digest: jsonb formats an array as Python's json.dumps does.
-- The id is a UUIDv7 with the fraction of the millisecond (RFC 9562 § 6.2, method 3), so that the events of
-- one connection sort in the order of writing.
-- Inside a tenant scope, events of other tenants are refused.
CREATE OR REPLACE FUNCTION record_event(
    tenant uuid, event_type text, request text, details jsonb, address inet, agent text, mailbox text
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    milliseconds numeric := extract(epoch FROM clock_timestamp()) * 1000;
    event uuid := (lpad(to_hex(floor(milliseconds)::bigint), 12, '0') || '7'
        || lpad(to_hex(floor(milliseconds % 1 * 4096)::integer), 3, '0')
        || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid;
    salt bytea := uuid_send(gen_random_uuid());
    personal text := jsonb_build_array(host(address), agent, mailbox)::text;
BEGIN
    IF tenant::text <> nullif(current_setting('app.current_creator_id', true), '') THEN
        RAISE EXCEPTION 'an event of another tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO public.audit_logs (id, creator_id, at, type, request_id, detail, personal_digest)
    VALUES (event, tenant, to_timestamp(floor(milliseconds) / 1000), event_type, request, details,
            sha256(salt || convert_to(personal, 'UTF8')));
    INSERT INTO public.audit_personal_data (id, creator_id, salt, ip_address, user_agent, email)
    VALUES (event, tenant, salt, address, agent, mailbox);
    RETURN event;
END $$;
