"""Attempts actions that the app role may never do, in transactions that are rolled back."""

from collections.abc import Iterator

import psycopg
from django.conf import settings

from .database import temporary_connection

REFUSED = {
    "create a large object": "SELECT lo_create(0)",
    "write a large object": "SELECT lo_from_bytea(0, 'x')",
    "take an advisory lock": "SELECT pg_try_advisory_xact_lock(1)",
    "write WAL messages": "SELECT pg_logical_emit_message(false, 'x', 'x')",
    "create a table": "CREATE TABLE probe ()",
    "create a temporary table": "CREATE TEMPORARY TABLE probe ()",
    "become a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
}


def privilege_findings(alias: str) -> Iterator[str]:
    """One finding for each of `REFUSED` and `settings.TENANT_REFUSED` that PostgreSQL does not refuse."""
    with temporary_connection(alias) as connection:
        driver: psycopg.Connection = connection.connection  # without Django's execute wrappers
        for action, statement in (REFUSED | settings.TENANT_REFUSED).items():
            if failure := _failure(driver, statement):
                yield f"role {settings.TENANT_ROLES.app} may {action}: {failure}"


def _failure(driver: psycopg.Connection, statement: str) -> str:
    """Why the attempt is a finding; "" if the statement was refused."""
    try:
        with driver.transaction(force_rollback=True):
            driver.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return ""
    except psycopg.Error as error:
        return f"it failed, but not for lack of a privilege ({type(error).__name__})"
    return "it was not refused"
