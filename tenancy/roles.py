"""The four PostgreSQL roles of the house, and the SQL that makes them.

Plain functions without Django, so that the launcher of an embedded server and the command that
prints the SQL for a DBA say the same thing.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Self

LOCK_TIMEOUT = "5s"
IDLE_TIMEOUT = "3s"  # inside a transaction; services leave it for whatever takes long
# The app's role can change its own defaults, so its connections set these too.
RUNTIME_SETTINGS = {
    "lock_timeout": LOCK_TIMEOUT,  # a table that somebody locks must not hold every request for as long
    # a machine that is gone closes nothing: what its transactions had locked must be free again
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
}
# Functions that everybody may call and no role of the service needs: they write large objects, or into the
# WAL, past every table's grants. Functions of the lookup role take advisory locks; a role that could take
# the same ones could hold up the sign-in of any address.
POWERS = "^(lo_.*|loread|lowrite|pg_(try_)?advisory_.*|pg_logical_emit_message)$"
SCRAM_ITERATIONS = 4096  # PostgreSQL's own default; the passwords are generated, not chosen


@dataclass(frozen=True)
class Roles:
    """Names of the roles in PostgreSQL; policies and grants speak of them by their field names."""

    owner: str  # owns and migrates
    app: str  # serves API and pages: bound by every wall
    operator: str  # serves admin, worker and commands: sees all tenants
    lookup: str  # can't log in: owns the pre-sign-in function

    @classmethod
    def of(cls, prefix: str) -> Self:
        return cls(*(f"{prefix}_{field.name}" for field in fields(cls)))

    def logins(self) -> tuple[str, ...]:
        return (self.owner, self.app, self.operator)


def role_statements(roles: Roles, passwords: Mapping[str, str]) -> Iterator[str]:
    """Statements that make the roles or mend them; run as superuser in any database.

    `passwords` maps role names to plain passwords. They leave here as SCRAM verifiers only, so
    a server log that keeps a failed statement keeps no password.
    """
    for name in (*roles.logins(), roles.lookup):
        yield (f"DO $$ BEGIN CREATE ROLE {quoted(name)}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        login = "LOGIN" if name in passwords else "NOLOGIN"
        yield (
            f"ALTER ROLE {quoted(name)} {login} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE "
            "NOREPLICATION NOINHERIT"
        )
        if name in passwords:
            yield f"ALTER ROLE {quoted(name)} PASSWORD '{scram_verifier(passwords[name])}'"
    for setting, value in RUNTIME_SETTINGS.items():
        yield f"ALTER ROLE {quoted(roles.app)} SET {setting} = '{value}'"
    yield f"ALTER ROLE {quoted(roles.operator)} SET lock_timeout = '{LOCK_TIMEOUT}'"
    yield f"GRANT {quoted(roles.lookup)} TO {quoted(roles.owner)}"


def create_database_statement(database: str, roles: Roles) -> str:
    return (
        f"CREATE DATABASE {quoted(database)} OWNER {quoted(roles.owner)} TEMPLATE template0 ENCODING 'UTF8'"
    )


def database_statements(database: str, roles: Roles) -> Iterator[str]:
    """Statements that close the database to everybody else; run as superuser inside it."""
    yield f"ALTER DATABASE {quoted(database)} OWNER TO {quoted(roles.owner)}"  # others may have made it
    yield f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC"
    yield f"ALTER SCHEMA public OWNER TO {quoted(roles.owner)}"
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    for name in (roles.app, roles.operator):
        yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(name)}"
    for name in (roles.app, roles.operator, roles.lookup):
        yield f"GRANT USAGE ON SCHEMA public TO {quoted(name)}"
    # sessions of one role see each other's statements there, with all the values in them
    for function in ("pg_stat_get_activity(integer)", "pg_stat_get_backend_activity(integer)"):
        yield f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC"
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO pg_monitor"
    yield _REVOKE_POWERS
    for name in (roles.owner, roles.lookup):
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO {quoted(name)}"


_REVOKE_POWERS = f"""DO $$ DECLARE found regprocedure; BEGIN
    FOR found IN SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '{POWERS}' AND EXISTS (
            SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
    LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', found); END LOOP;
END $$"""


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password, made on our side of the wire (RFC 5803).

    The password must be ASCII: SASLprep of anything else is the server's business.
    """
    if not password.isascii():
        message = "a database password must be ASCII"
        raise ValueError(message)
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    b64 = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{b64[0]}${b64[1]}:{b64[2]}"
