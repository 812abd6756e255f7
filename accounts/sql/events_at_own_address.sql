-- For the data export: events without an account at the current tenant's address, with their personal data.
CREATE OR REPLACE FUNCTION events_at_own_address(after uuid, max_rows integer)
RETURNS TABLE (
    id uuid, at timestamptz, type text, request_id text, detail jsonb, ip_address text, user_agent text, email text
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT e.id, e.at, e.type::text, e.request_id::text, e.detail, host(p.ip_address), p.user_agent, p.email
    FROM public.creators AS c
    JOIN public.audit_personal_data AS p ON p.email = c.email AND p.email <> ''
    JOIN public.audit_logs AS e ON e.id = p.id AND e.creator_id = p.creator_id
    WHERE c.id::text = current_setting('app.current_creator_id', true)
        AND c.holds_email AND c.email_verified_at IS NOT NULL
        AND p.creator_id = '00000000-0000-0000-0000-000000000000' AND p.id > after
    ORDER BY p.id LIMIT least(max_rows, 1000);
END $$;
