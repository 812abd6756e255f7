"""Django's PostgreSQL backend, which looks after its connections at less cost."""

import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.db.backends.postgresql import base

TRUSTED_SECONDS = 1.0


class DatabaseWrapper(base.DatabaseWrapper):
    stood_at = float("-inf")

    def is_usable(self) -> bool:
        """Asked before each request where CONN_HEALTH_CHECKS is on.

        A connection that was closed over there has its end waiting to be read; where nothing waits on
        one that was good a moment ago, Django's own statement (a seventh of a request) is spared. One
        that lay idle is asked: a machine that is gone closes nothing.
        """
        now = time.monotonic()
        if now - self.stood_at > TRUSTED_SECONDS or self._has_news():
            if not super().is_usable():
                return False
            self.stood_at = now
        return True

    def _has_news(self) -> bool:
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def call(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
        """The first row of a statement, None for no row.

        The driver alone, in binary: half the price of `cursor()`, and neither logged nor counted.
        """
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            cursor = psycopg.Cursor(self.connection)
            return cursor.execute(sql, parameters, prepare=False, binary=True).fetchone()
