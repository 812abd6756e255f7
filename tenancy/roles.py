"""The four PostgreSQL roles, and the SQL that creates them.

This module needs no Django, so the launcher's embedded server and the command `role_sql` run the same SQL.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Self

LOCK_TIMEOUT = "5s"
IDLE_TIMEOUT = "3s"  # inside a transaction; services do slow work outside transactions
# Defaults of the app role. A role can change its own defaults, so each connection sets these again.
APP_ROLE_SETTINGS = {
    "lock_timeout": LOCK_TIMEOUT,  # a request gives up on a locked table after this time
    # a host that disappears closes no connection: the locks of its transactions are released after this time
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
}
# Functions that PUBLIC may execute by default and that no role needs. They write large objects or WAL, which
# table privileges do not restrict. The lookup role's functions take advisory locks: a role that could take
# the same locks could block the login of any address.
RESTRICTED_FUNCTIONS = "^(lo_.*|loread|lowrite|pg_(try_)?advisory_.*|pg_logical_emit_message)$"
SCRAM_ITERATIONS = 4096  # PostgreSQL's default; enough, because the passwords are random


@dataclass(frozen=True)
class Roles:
    """Names of the roles in PostgreSQL. Policies and grants are declared with the field names."""

    owner: str  # owns the tables and migrates
    app: str  # API and pages; RLS restricts it to the current tenant
    operator: str  # admin, worker and commands; its policies show all tenants
    lookup: str  # cannot log in; owns the SECURITY DEFINER functions

    @classmethod
    def of(cls, prefix: str) -> Self:
        return cls(*(f"{prefix}_{field.name}" for field in fields(cls)))

    def logins(self) -> tuple[str, ...]:
        return (self.owner, self.app, self.operator)


def role_statements(roles: Roles, passwords: Mapping[str, str]) -> Iterator[str]:
    """Statements that create or repair the roles; run them as superuser in any database.

    `passwords` maps role names to plain passwords. The statements contain only SCRAM verifiers, so the
    server can log a failed statement without revealing a password.
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
    for setting, value in APP_ROLE_SETTINGS.items():
        yield f"ALTER ROLE {quoted(roles.app)} SET {setting} = '{value}'"
    yield f"ALTER ROLE {quoted(roles.operator)} SET lock_timeout = '{LOCK_TIMEOUT}'"
    yield f"GRANT {quoted(roles.lookup)} TO {quoted(roles.owner)}"


def create_database_statement(database: str, roles: Roles) -> str:
    return (
        f"CREATE DATABASE {quoted(database)} OWNER {quoted(roles.owner)} TEMPLATE template0 ENCODING 'UTF8'"
    )


def database_statements(database: str, roles: Roles) -> Iterator[str]:
    """Statements that deny all other roles access to the database; run them as superuser inside it."""
    yield f"ALTER DATABASE {quoted(database)} OWNER TO {quoted(roles.owner)}"  # if it existed already
    yield f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC"
    yield f"ALTER SCHEMA public OWNER TO {quoted(roles.owner)}"
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    for name in (roles.app, roles.operator):
        yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {quoted(name)}"
    for name in (roles.app, roles.operator, roles.lookup):
        yield f"GRANT USAGE ON SCHEMA public TO {quoted(name)}"
    # these show a role the statements of its other sessions, with all values
    for function in ("pg_stat_get_activity(integer)", "pg_stat_get_backend_activity(integer)"):
        yield f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC"
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO pg_monitor"
    yield _REVOKE_RESTRICTED_FUNCTIONS
    for name in (roles.owner, roles.lookup):
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO {quoted(name)}"


_REVOKE_RESTRICTED_FUNCTIONS = f"""DO $$ DECLARE restricted regprocedure; BEGIN
    FOR restricted IN SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '{RESTRICTED_FUNCTIONS}' AND EXISTS (
            SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
    LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', restricted); END LOOP;
END $$"""


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def scram_verifier(password: str) -> str:
    """The verifier that PostgreSQL stores for a password (RFC 5803).

    The password must be ASCII, because SASLprep is not implemented here.
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
