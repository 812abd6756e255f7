"""Functions of the database that know by themselves what their caller may ask for."""

from datetime import timedelta
from importlib import import_module

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models.lookups import LessThanOrEqual
from uuid_utils.compat import uuid7

from accounts.models.sessions import StoredBytes
from tenancy.constraints import Grant
from tenancy.operations import RunRoleSQL

lockout = import_module("accounts.migrations.0004_lockout")

# A role that may write the tables itself, which the operator may, chooses scope and limits as it likes. The
# app's role has the API's scope and may be stricter than `lockout_limits`, never laxer; without a row there
# the settings' defaults hold. A reservation belongs to the address that it was made for.
# Everything about one address in one scope happens under one lock; clock_timestamp(), because a call that
# waited for the lock must not judge by the time at which it began to wait.
CREATE = """
CREATE FUNCTION lockout_is_bounded(at_door text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF has_table_privilege(session_user, 'public.login_reservations', 'INSERT') THEN
        RETURN false;
    END IF;
    IF at_door IS DISTINCT FROM 'api' THEN
        RAISE EXCEPTION 'the count of % is the operators''', at_door USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION lockout_reserve(
    at_door text, address text, reservation uuid, most integer, lock_time interval, lease interval,
    OUT verdict text, OUT until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz;
    failures integer;
    last_failure timestamptz;
    in_flight integer;
BEGIN
    IF public.lockout_is_bounded(at_door) THEN
        SELECT least(most, coalesce(max(attempts), 5)), greatest(lock_time, coalesce(max(duration), '30 minutes'))
            INTO most, lock_time FROM public.lockout_limits;
        lease := least(lease, interval '20 seconds');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(at_door || ':' || address, 0));
    moment := clock_timestamp();
    SELECT failures_since_start, attempt_time INTO failures, last_failure
        FROM public.axes_accessattempt WHERE username = address AND user_agent = at_door;
    IF last_failure + lock_time <= moment THEN
        UPDATE public.axes_accessattempt SET failures_since_start = 0
            WHERE username = address AND user_agent = at_door;
        failures := 0;
    END IF;
    failures := coalesce(failures, 0);
    IF failures >= most THEN
        verdict := 'locked';
        until := last_failure + lock_time;
        RETURN;
    END IF;
    DELETE FROM public.login_reservations WHERE username = address AND door = at_door AND expires_at <= moment;
    SELECT count(*) INTO in_flight FROM public.login_reservations WHERE username = address AND door = at_door;
    IF failures + in_flight >= most THEN
        verdict := 'wait';
        RETURN;
    END IF;
    INSERT INTO public.login_reservations (id, door, username, expires_at)
        VALUES (reservation, at_door, address, moment + lease);
    verdict := 'go';
END $$;

-- Returns the failures there are now; NULL where the reservation expired before the verdict: another attempt
-- may have taken its place, and nobody shall learn more verdicts than there are places.
CREATE FUNCTION lockout_settle(at_door text, address text, reservation uuid, failed boolean) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    failures integer;
BEGIN
    PERFORM public.lockout_is_bounded(at_door);
    PERFORM pg_advisory_xact_lock(hashtextextended(at_door || ':' || address, 0));
    DELETE FROM public.login_reservations WHERE id = reservation AND username = address AND door = at_door;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE public.axes_accessattempt
        SET failures_since_start = CASE WHEN failed THEN failures_since_start + 1 ELSE 0 END,
            attempt_time = CASE WHEN failed THEN clock_timestamp() ELSE attempt_time END
        WHERE username = address AND user_agent = at_door
        RETURNING failures_since_start INTO failures;
    IF failures IS NULL AND failed THEN
        INSERT INTO public.axes_accessattempt
            (username, user_agent, ip_address, http_accept, path_info, attempt_time, get_data, post_data,
             failures_since_start)
            VALUES (address, at_door, NULL, '', '', clock_timestamp(), '', '', 1);
        failures := 1;
    END IF;
    RETURN coalesce(failures, 0);
END $$;

CREATE FUNCTION lockout_release(reservation uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM public.login_reservations WHERE id = reservation
        AND (door = 'api' OR has_table_privilege(session_user, 'public.login_reservations', 'INSERT'))
$$;

-- The app's role lifts the count of the address that the current tenant holds, as a finished reset does.
CREATE FUNCTION lockout_lift(at_door text, address text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF public.lockout_is_bounded(at_door) AND NOT EXISTS (
        SELECT FROM public.creators WHERE email = address AND holds_email
            AND id::text = current_setting('app.current_creator_id', true)
    ) THEN
        RETURN;
    END IF;
    UPDATE public.axes_accessattempt SET failures_since_start = 0
        WHERE username = address AND user_agent = at_door;
END $$;
"""
# `session_user` is the role that signed in to PostgreSQL, also inside a SECURITY DEFINER function.

HELPER = "lockout_is_bounded(text)"
OWN_HELPER = f"REVOKE ALL ON FUNCTION {HELPER} FROM PUBLIC; ALTER FUNCTION {HELPER} OWNER TO {{lookup}};"
OPEN, SHUT = "GRANT CREATE ON SCHEMA public TO {lookup};", "REVOKE CREATE ON SCHEMA public FROM {lookup};"

# Whoever deletes an account, and however, the personal data beside its events go with it. So do those beside
# the events that were recorded without an account at the addresses that it has confirmed; an address that
# another account holds by now is left to that one. An account whose address was never confirmed takes its own
# events' alone: the address may be a stranger's.
ERASE = """
CREATE FUNCTION erase_person() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
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
REVOKE ALL ON FUNCTION erase_person() FROM PUBLIC;
CREATE TRIGGER creators_erase_person BEFORE DELETE ON creators FOR EACH ROW EXECUTE FUNCTION erase_person();
ALTER FUNCTION erase_person() OWNER TO {lookup};
"""
DROP_ERASE = "DROP TRIGGER creators_erase_person ON creators; DROP FUNCTION erase_person();"

# For the export: the events that nobody's account was found for, at the address that the tenant holds.
EVENTS = """
CREATE FUNCTION events_at_own_address(after uuid, most integer)
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
    ORDER BY p.id LIMIT least(most, 1000);
END $$;
REVOKE ALL ON FUNCTION events_at_own_address(uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION events_at_own_address(uuid, integer) TO {app}, {operator};
ALTER FUNCTION events_at_own_address(uuid, integer) OWNER TO {lookup};
"""

KEY = """
ALTER TABLE jwt_blacklist DROP CONSTRAINT jwt_blacklist_pkey, DROP CONSTRAINT jwt_blacklist_tenant_key,
    ADD CONSTRAINT jwt_blacklist_pkey PRIMARY KEY (creator_id, id);
"""
DROP_KEY = """
ALTER TABLE jwt_blacklist DROP CONSTRAINT jwt_blacklist_pkey, ADD CONSTRAINT jwt_blacklist_pkey PRIMARY KEY (id),
    ADD CONSTRAINT jwt_blacklist_tenant_key UNIQUE (creator_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0015_canonical_addresses"), ("audit", "0008_personal_data_email")]

    operations = [
        migrations.CreateModel(
            name="LockoutLimits",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("attempts", models.PositiveIntegerField()),
                ("duration", models.DurationField()),
            ],
            options={
                "db_table": "lockout_limits",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("attempts__gt", 0), ("duration__gt", timedelta(0)), ("id", 1)),
                        name="lockout_limits_sane",
                    ),
                    Grant(name="lockout_limits_lookup", role="lookup", privileges=["SELECT"]),
                    Grant(
                        name="lockout_limits_operator",
                        role="operator",
                        privileges=["SELECT", "INSERT", "UPDATE", "DELETE"],
                    ),
                ],
            },
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[RunRoleSQL(KEY, DROP_KEY)],
            state_operations=[
                migrations.RemoveConstraint("blacklistedtoken", "jwt_blacklist_tenant_key"),
                migrations.AlterField(
                    "blacklistedtoken", "id", models.UUIDField(default=uuid7, editable=False)
                ),
                migrations.AddField(
                    "blacklistedtoken",
                    "pk",
                    models.CompositePrimaryKey(
                        "creator_id", "id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
            ],
        ),
        # rows from before may be longer; they expire
        AddConstraintNotValid(
            "usersession",
            models.CheckConstraint(
                condition=LessThanOrEqual(StoredBytes("metadata"), 4096), name="user_sessions_metadata_size"
            ),
        ),
        migrations.RemoveConstraint("creator", "creators_lookup_grant"),
        migrations.AddConstraint(
            "creator",
            Grant(
                name="creators_lookup_grant",
                role="lookup",
                privileges=["SELECT (id, email, holds_email, email_verified_at)"],
            ),
        ),
        migrations.RemoveConstraint("emailchange", "email_changes_lookup_grant"),
        migrations.AddConstraint(
            "emailchange",
            Grant(
                name="email_changes_lookup_grant",
                role="lookup",
                privileges=[
                    "SELECT (creator_id, old_email, new_email, confirmed_at, undone_at, undo_expires_at)"
                ],
            ),
        ),
        RunRoleSQL(
            f"{lockout.DROP} {CREATE} {OPEN} {OWN_HELPER} {lockout.OWN} {SHUT}",
            f"{lockout.DROP} DROP FUNCTION {HELPER}; {lockout.CREATE} {OPEN} {lockout.OWN} {SHUT}",
        ),
        RunRoleSQL(
            f"{OPEN} {ERASE} {EVENTS} {SHUT}",
            f"{DROP_ERASE} DROP FUNCTION events_at_own_address(uuid, integer);",
        ),
    ]
