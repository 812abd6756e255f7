"""The database of the tests, seen from outside of the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection

from tenancy.postgresql.base import DatabaseWrapper

from .environment import DATABASE, server

KEPT = {"django_migrations", "django_content_type", "auth_permission", "signing_keys"}


def superuser_of(database: str) -> psycopg.Connection:
    return psycopg.connect(server.superuser_url(database), autocommit=True)


def wipe(*_: Any) -> None:
    """Empty the tables as the superuser: the app role can't, so Django's flush would fail."""
    with superuser_of(DATABASE) as connection:
        connection.execute("SET client_min_messages = error")
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        tables = [name for (name,) in found if name not in KEPT]
        triggers = connection.execute(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE '%_no_truncate'"
        ).fetchall()
        with connection.transaction():
            for table, trigger in triggers:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
            connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE".encode())
            for table, trigger in triggers:
                connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are executed meanwhile, by Django's cursors and by `fetch_rows`."""
    seen: list[str] = []

    def execute(run: Any, sql: Any, *more: Any) -> Any:
        seen.append(" ".join(str(sql).split()))
        return run(sql, *more)

    def call(self: DatabaseWrapper, sql: str, parameters: Any) -> Any:
        seen.append(" ".join(sql.split()))
        return execute_it(self, sql, parameters)

    execute_it = DatabaseWrapper.fetch_rows
    with connection.execute_wrapper(execute), pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrapper, "fetch_rows", call)
        yield seen
