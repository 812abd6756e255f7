"""Counters for the rate limits where there is no Redis: Django's cache API on an UNLOGGED table.

Django's own DatabaseCache reads, adds and writes; here `add` and `incr` are one statement each, so
that a burst over many processes is counted exactly. Whoever counts adds a key and then increments it:
of a key that this process has met, the first is spared.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import Error as DatabaseStoreError
from django.utils import timezone

from tenancy.context import fetch_row

REDIS_ERRORS: tuple[type[Exception], ...] = ()
if settings.REDIS_URL:  # who has none is spared its modules
    from django_redis.exceptions import ConnectionInterrupted
    from redis.exceptions import RedisError

    REDIS_ERRORS = (ConnectionInterrupted, RedisError)
STORE_ERRORS: tuple[type[Exception], ...] = (DatabaseStoreError, *REDIS_ERRORS)  # what a count fails with
MOST_MET = 10_000  # keys; some 2 MiB
_met: dict[str, tuple[float, float]] = {}  # key → until when it is taken to be there; its timeout


class DatabaseCounterCache(BaseCache):
    """Keeps whole numbers only: `add`, `incr`, `get`, `set`, `delete`, `clear`."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """False, unasked, for a key that was met less than its timeout ago; `incr` sees if it is gone."""
        if time.monotonic() < _met.get(key, (0.0, 0.0))[0]:
            return False
        return self._add(key, value, timeout, version)

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        sql = """
            INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
            RETURNING value
            """
        self._run(sql, key, version, value=value, seconds=self._seconds(timeout))

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
        while (value := self._run(sql, key, version, value=delta)) is None:
            met = _met.get(key)
            if met is None:
                raise ValueError(key)
            if self._add(key, delta, met[1], version):
                return delta
        return value

    def delete(self, key: str, version: int | None = None) -> bool:
        _met.pop(key, None)
        return self._run("DELETE FROM counters WHERE key = %(key)s RETURNING value", key, version) is not None

    def clear(self) -> None:
        _met.clear()
        self._run("DELETE FROM counters RETURNING 1", "", None)

    def _add(self, key: str, value: int, timeout: Any, version: int | None) -> bool:
        sql = """
            INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
            WHERE counters.expires_at <= %(now)s RETURNING value
            """
        seconds = self._seconds(timeout)
        added = self._run(sql, key, version, value=value, seconds=seconds) is not None
        if seconds is not None:
            if len(_met) >= MOST_MET:
                _met.clear()
            _met[key] = time.monotonic() + seconds, seconds
        return added

    def _seconds(self, timeout: Any) -> float | None:
        """None: for ever."""
        seconds: float | None = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return seconds

    def _run(
        self, sql: str, key: str, version: int | None, *, value: int = 0, seconds: float | None = 0
    ) -> int | None:
        now = timezone.now()
        row: dict[str, Any] = {
            "key": self.make_and_validate_key(key, version=version),
            "value": value,
            "now": now,
            "expires_at": datetime.max.replace(tzinfo=UTC)
            if seconds is None
            else now + timedelta(seconds=seconds),
        }
        found = fetch_row(sql, row)
        return found[0] if found else None
