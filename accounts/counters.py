"""Counters for the rate limits where there is no Redis: Django's cache API on an UNLOGGED table.

Django's own DatabaseCache reads, adds and writes; here `add` and `incr` are one statement each, so
that a burst over many processes is counted exactly.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connections
from django.utils import timezone

from tenancy.context import current_alias


class DatabaseCounters(BaseCache):
    """Keeps whole numbers only: `add`, `incr`, `get`, `set`, `delete`, `clear`."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        sql = """
            INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
            WHERE counters.expires_at <= %(now)s RETURNING value
            """
        return self._run(sql, key, version, value=value, timeout=timeout) is not None

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        sql = """
            INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
            RETURNING value
            """
        self._run(sql, key, version, value=value, timeout=timeout)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        sql = "SELECT value FROM counters WHERE key = %(key)s AND expires_at > %(now)s"
        value = self._run(sql, key, version)
        return default if value is None else value

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Raises ValueError where there is no such key, as the cache API wants it."""
        sql = (
            "UPDATE counters SET value = value + %(value)s "
            "WHERE key = %(key)s AND expires_at > %(now)s RETURNING value"
        )
        value = self._run(sql, key, version, value=delta)
        if value is None:
            raise ValueError(key)
        return value

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._run("DELETE FROM counters WHERE key = %(key)s RETURNING value", key, version) is not None

    def clear(self) -> None:
        self._run("DELETE FROM counters RETURNING 1", "", None)

    def _run(
        self, sql: str, key: str, version: int | None, *, value: int = 0, timeout: Any = DEFAULT_TIMEOUT
    ) -> int | None:
        now = timezone.now()
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout  # None: for ever
        row: dict[str, Any] = {
            "key": self.make_and_validate_key(key, version=version),
            "value": value,
            "now": now,
            "expires_at": datetime.max.replace(tzinfo=UTC)
            if seconds is None
            else now + timedelta(seconds=seconds),
        }
        connection: Any = connections[current_alias()]
        found = connection.call(sql, row)
        return found[0] if found else None
