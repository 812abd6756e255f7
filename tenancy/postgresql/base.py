"""Django's PostgreSQL backend, which looks after its connections at less cost."""

import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.db.backends.postgresql import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from tenancy.context import SETTING
from tenancy.roles import RUNTIME_SETTINGS

TRUSTED_SECONDS = 1.0
CONNECTION_SETTINGS = {
    **RUNTIME_SETTINGS,
    SETTING: "",
    "default_transaction_isolation": "read committed",  # whoever waits for a row sees what became of it
    "search_path": "public",
}
AWAY = {None, "25P03", "25P04"}  # no word of the server; idle, or at it, for too long in a transaction


class Errors(DatabaseErrorWrapper):
    """Django's; but a session that the server ended, or whose answers are out of step, is one that is away.

    To psycopg these are internal errors, as is a bug in a function, which stays one.
    """

    wrapper: Any

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, psycopg.InternalError) and error.sqlstate in AWAY:
            self.wrapper.errors_occurred = True
            self.wrapper.stood_at = float("-inf")  # not to be trusted
            raise OperationalError(*error.args) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    stood_at = float("-inf")
    caller: psycopg.Cursor  # one for all calls of a connection: a fifth of a call is its making

    def init_connection_state(self) -> None:
        """The app's role can change its own defaults, so what the service relies on is not left to them.

        Through a pooler the next client gets the same values, and the tenant is none: nothing leaks.
        """
        super().init_connection_state()
        if self.alias == DEFAULT_DB_ALIAS:
            pairs = [pair for setting in CONNECTION_SETTINGS.items() for pair in setting]
            words = ", ".join(["set_config(%s, %s, false)"] * len(CONNECTION_SETTINGS))
            self.caller.execute(f"SELECT {words}", pairs, prepare=False)

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        self.caller = psycopg.Cursor(connection)
        return connection

    @cached_property
    def wrap_database_errors(self) -> Errors:
        return Errors(self)

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
            return self.caller.execute(sql, parameters, prepare=False, binary=True).fetchone()
