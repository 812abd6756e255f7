"""Fills a database with realistic rows within seconds, for benchmarks, proofs and the tests of query plans.

    populate(connection, creators=100_000)
    populate_audit_log(connection, events=1_000_000, days=7)

`connection` is a superuser's, so that RLS does not apply. SQL derives each row from a number, so that every run has
the same creators. Constraints, references and digests are valid, as if the service had written the rows.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

# of each creator: sessions, refresh tokens of a session, end-user sessions, audit events
SESSIONS, REFRESHES, END_USERS, EVENTS = 1, 2, 1, 2

# pg_temp is dropped when the connection closes
FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.id_at(at timestamptz, seed text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(seed), 1, 3)
            || '8' || substr(md5(seed), 4, 15))::uuid
$$;
CREATE OR REPLACE FUNCTION pg_temp.creator(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.id_at('2026-01-01Z'::timestamptz + n * interval '1 second', 'creator ' || n)
$$;
CREATE OR REPLACE FUNCTION pg_temp.email(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'person-' || n || '@example.com'
$$;
CREATE OR REPLACE FUNCTION pg_temp.address(n bigint) RETURNS inet LANGUAGE sql IMMUTABLE AS $$
    SELECT '10.0.0.0'::inet + (abs(hashint8(n)::bigint) % 16777216)
$$;
"""
CREATORS = """
INSERT INTO creators (id, password, last_login, is_superuser, email, holds_email, email_verified_at, display_name,
                      is_active, is_staff, created_at)
SELECT pg_temp.creator(n), '!' || md5(n::text), now(), false, pg_temp.email(n), true, now(), 'Person ' || n, n %% 50 <> 0,
       false, '2026-01-01Z'::timestamptz + n * interval '1 second'
FROM generate_series(%(first)s::bigint, %(last)s) n
"""
SESSION_ROWS = """
INSERT INTO sessions (id, creator_id, created_at, last_used_at, expires_at, end_reason, ip_address, user_agent, device)
SELECT pg_temp.id_at(at, format('session %%s %%s', n, s)), pg_temp.creator(n), at, at, at + interval '30 days', '',
       pg_temp.address(n), 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox on Linux'
FROM generate_series(%(first)s::bigint, %(last)s) n, generate_series(1::bigint, %(sessions)s) s,
     LATERAL (SELECT %(now)s::timestamptz - s * interval '1 day' - n * interval '1 millisecond' AS at) t
"""
REFRESH_ROWS = """
INSERT INTO refresh_tokens (id, creator_id, session_id, parent_id, kid, created_at, expires_at, used_at)
SELECT pg_temp.id_at(at + r * interval '1 hour', format('refresh %%s %%s %%s', n, s, r)), pg_temp.creator(n),
       pg_temp.id_at(at, format('session %%s %%s', n, s)),
       CASE WHEN r > 1 THEN pg_temp.id_at(at + (r - 1) * interval '1 hour', format('refresh %%s %%s %%s', n, s, r - 1)) END,
       'none', at + r * interval '1 hour', at + interval '30 days',
       CASE WHEN r < %(refreshes)s THEN at + (r + 1) * interval '1 hour' END
FROM generate_series(%(first)s::bigint, %(last)s) n, generate_series(1::bigint, %(sessions)s) s, generate_series(1::bigint, %(refreshes)s) r,
     LATERAL (SELECT %(now)s::timestamptz - s * interval '1 day' - n * interval '1 millisecond' AS at) t
"""
END_USER_ROWS = """
INSERT INTO user_sessions (id, creator_id, created_at, expires_at, metadata)
SELECT pg_temp.id_at(at, format('end user %%s %%s', n, v)), pg_temp.creator(n), at, at + interval '24 hours', '{"page": "/"}'
FROM generate_series(%(first)s::bigint, %(last)s) n, generate_series(1::bigint, %(end_users)s) v,
     LATERAL (SELECT %(now)s::timestamptz - v * interval '1 hour' AS at) t
"""
RESET_ROWS = """
INSERT INTO password_reset_tokens (id, creator_id, digest, email, recovery_generation, created_at, expires_at)
SELECT pg_temp.id_at(%(now)s, 'reset ' || n), pg_temp.creator(n), sha256(n::text::bytea), pg_temp.email(n), 0, %(now)s::timestamptz, %(now)s + interval '15 minutes'
FROM generate_series(%(first)s::bigint, %(last)s) n WHERE n %% 10 = 0
"""
BLACKLIST_ROWS = """
INSERT INTO jwt_blacklist (id, creator_id, expires_at)
SELECT pg_temp.id_at(%(now)s, 'access ' || n), pg_temp.creator(n), %(now)s + interval '1 hour'
FROM generate_series(%(first)s::bigint, %(last)s) n WHERE n %% 10 = 1
"""
# The events of a service under a weak attack: every third failed login comes from one of three addresses, and
# tries one of a hundred accounts that do not exist.
EVENT_ROWS = """
WITH happened AS MATERIALIZED (
    SELECT n, at, pg_temp.id_at(at, 'event ' || n) AS id, type, hostile, decode(md5('salt ' || n), 'hex') AS salt,
           CASE WHEN hostile OR type = 'breach_check.failed' THEN '00000000-0000-0000-0000-000000000000'
                ELSE pg_temp.creator(n %% %(creators)s + 1) END AS creator_id,
           CASE WHEN hostile THEN host('198.51.100.0'::inet + n / 3 %% 3) ELSE host(pg_temp.address(n %% 50000)) END AS ip,
           CASE WHEN type <> 'login.failed' THEN ''
                WHEN hostile THEN format('victim-%%s@example.com', n %% 100)
                ELSE pg_temp.email(n %% %(creators)s + 1) END AS email,
           'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' AS agent
    FROM generate_series(%(first)s::bigint, %(last)s) n,
         LATERAL (SELECT %(since)s + (%(until)s - %(since)s) * ((n - %(first)s + 0.5) / (%(last)s - %(first)s + 1)) AS at,
                         abs(hashint8(n)::bigint) %% 100 AS dice) r,
         LATERAL (SELECT CASE WHEN dice < %(failed)s THEN 'login.failed' WHEN dice < 90 THEN 'login.succeeded'
                              ELSE (%(rare)s::text[])[dice - 89] END AS type) t,
         LATERAL (SELECT type = 'login.failed' AND n %% 3 = 0 AS hostile) h
), personal AS (
    INSERT INTO audit_personal_data (id, creator_id, salt, ip_address, user_agent, email)
    SELECT id, creator_id::uuid, salt, ip::inet, agent, email FROM happened ORDER BY n
)
INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest)
SELECT id, creator_id::uuid, at, type, replace(pg_temp.id_at(at, 'request ' || n)::text, '-', ''), '{}',
       sha256(salt || convert_to(format('["%%s", "%%s", "%%s"]', ip, agent, email), 'UTF8'))
FROM happened ORDER BY n
"""
RARE = [
    "session.ended", "profile.updated", "registration.requested", "email.verified", "password.reset_requested",
    "password.reset", "account.locked", "token.reused", "breach_check.failed", "password.check_failed",
]  # fmt: skip
STATEMENTS = (CREATORS, SESSION_ROWS, REFRESH_ROWS, END_USER_ROWS, RESET_ROWS, BLACKLIST_ROWS)


def populate(connection: psycopg.Connection, *, creators: int, already: int = 0) -> None:
    """Fill every tenant table with rows of creators `already + 1` to `creators`.

    The caller runs VACUUM ANALYZE afterwards. `SET session_replication_role = replica` before halves the time,
    because it skips the foreign keys.
    """
    parameters = {
        "first": already + 1, "last": creators, "now": datetime.now(UTC).replace(microsecond=0),
        "sessions": SESSIONS, "refreshes": REFRESHES, "end_users": END_USERS,
    }  # fmt: skip
    connection.execute(FUNCTIONS.encode())
    for statement in STATEMENTS:
        connection.execute(statement.encode(), parameters)
    events, before = EVENTS * (creators - already), EVENTS * already
    populate_audit_log(connection, events=events, creators=creators, already=before)


def populate_audit_log(
    connection: psycopg.Connection,
    *,
    events: int,
    creators: int = 1000,
    days: float = 7,
    failed_percent: int = 30,
    already: int = 0,
) -> None:
    """Insert events spread evenly over the last `days`. Their `creators` need not exist."""
    until = datetime.now(UTC)
    parameters = {
        "first": already + 1, "last": already + events, "creators": creators, "failed": failed_percent,
        "since": until - timedelta(days=days), "until": until, "rare": RARE,
    }  # fmt: skip
    connection.execute(FUNCTIONS.encode())
    connection.execute(EVENT_ROWS.encode(), parameters)


def creator_of(connection: psycopg.Connection, number: int) -> UUID:
    """The id of the creator with this number."""
    row = connection.execute("SELECT pg_temp.creator(%s)", [number]).fetchone()
    assert row
    return UUID(str(row[0]))
