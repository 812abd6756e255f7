from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def rows(alias: str, sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


@contextmanager
def temporary_connection(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """A new connection in a transaction that is rolled back."""
    connection = connections[alias].copy()
    try:
        connection.ensure_connection()
        connection.set_autocommit(False)
        yield connection
    finally:
        connection.close()
