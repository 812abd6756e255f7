"""Tries what the runtime role must be refused whoever the tenant is.

Each statement runs in a transaction that is rolled back.
"""

from collections.abc import Iterator
from typing import cast

import psycopg
from django.conf import settings
from django.db import connections

REFUSED = {
    "create a large object": "SELECT lo_create(0)",
    "write a large object": "SELECT lo_from_bytea(0, 'x')",
    "take an advisory lock": "SELECT pg_try_advisory_xact_lock(1)",
    "write into the WAL past all tables": "SELECT pg_logical_emit_message(false, 'x', 'x')",
    "create a table": "CREATE TABLE probe ()",
    "create a temporary table": "CREATE TEMPORARY TABLE probe ()",
    "become a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
}


def privilege_findings(alias: str) -> Iterator[str]:
    """One sentence for each of these, and of `settings.TENANT_REFUSED`, that is not refused."""
    connection = connections[alias].copy()
    try:
        connection.ensure_connection()
        connection.set_autocommit(False)
        driver = cast("psycopg.Connection", connection.connection)  # past Django's execute wrappers
        for what, statement in (REFUSED | settings.TENANT_REFUSED).items():
            if verdict := _verdict(driver, statement):
                yield f"role {settings.TENANT_ROLES.app} may {what}: {verdict}"
    finally:
        connection.close()


def _verdict(driver: psycopg.Connection, statement: str) -> str:
    """What came of it; "" for a refusal."""
    try:
        with driver.transaction() as transaction:
            driver.execute(statement.encode())
            raise psycopg.Rollback(transaction)
    except psycopg.errors.InsufficientPrivilege:
        return ""
    except psycopg.Error as error:
        return f"failed, but was not refused ({type(error).__name__})"
    return "was not refused"
