"""Django's PostgreSQL backend, which looks after its connections at less cost."""

import select
import time
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from tenancy.context import TENANT_SETTING
from tenancy.roles import RUNTIME_SETTINGS

HEALTH_CHECK_INTERVAL = 1.0
CONNECTION_SETTINGS = {
    **RUNTIME_SETTINGS,
    TENANT_SETTING: "",
    "default_transaction_isolation": "read committed",  # whoever waits for a row sees what became of it
    "search_path": "public",
}
AWAY = {None, "25P03", "25P04"}  # no word of the server; idle, or at it, for too long in a transaction


class SessionEndErrors(DatabaseErrorWrapper):
    """Django's; but a session that the server ended, or whose answers are out of step, is one that is away.

    To psycopg these are internal errors, as is a bug in a function, which stays one.
    """

    wrapper: Any

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, psycopg.InternalError) and error.sqlstate in AWAY:
            self.wrapper.errors_occurred = True
            self.wrapper._last_checked = float("-inf")  # not to be trusted
            raise OperationalError(*error.args) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    _last_checked = float("-inf")
    _function_cursor: psycopg.Cursor  # one for all calls of a connection: a fifth of a call is its making

    def init_connection_state(self) -> None:
        """The app's role can change its own defaults, so what the service relies on is not left to them.

        Through a pooler the next client gets the same values, and the tenant is none: nothing leaks.
        """
        super().init_connection_state()
        if self.alias == DEFAULT_DB_ALIAS:
            pairs = [pair for setting in CONNECTION_SETTINGS.items() for pair in setting]
            words = ", ".join(["set_config(%s, %s, false)"] * len(CONNECTION_SETTINGS))
            self._function_cursor.execute(f"SELECT {words}", pairs, prepare=False)

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        self._function_cursor = psycopg.Cursor(connection)
        return connection

    @cached_property
    def wrap_database_errors(self) -> SessionEndErrors:
        return SessionEndErrors(self)

    def is_usable(self) -> bool:
        """Asked before each request where CONN_HEALTH_CHECKS is on.

        A connection that was closed over there has its end waiting to be read; where nothing waits on
        one that was good a moment ago, Django's own statement (a seventh of a request) is spared. One
        that lay idle is asked: a machine that is gone closes nothing.
        """
        now = time.monotonic()
        if now - self._last_checked > HEALTH_CHECK_INTERVAL or self._socket_readable():
            if not super().is_usable():
                return False
            self._last_checked = now
        return True

    def _socket_readable(self) -> bool:
        connection: Any = self.connection
        if connection is None or connection.closed:
            return True
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def fetch_rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        """All rows of a statement, by the driver alone and in binary: half the cost of `cursor()`.

        Django neither logs nor counts it.
        """
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            return self._function_cursor.execute(sql, parameters, prepare=False, binary=True).fetchall()
