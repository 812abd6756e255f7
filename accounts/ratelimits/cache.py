"""Counters for the rate limits if there is no Redis: Django's cache API on an UNLOGGED table.

Django's own DatabaseCache reads and writes in separate statements, so concurrent increments get lost. Here
a count is one upsert, exact over any number of processes.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import Error as DatabaseStoreError
from django.utils import timezone

from tenancy.context import fetch_row

REDIS_ERRORS: tuple[type[Exception], ...] = ()
if settings.REDIS_URL:
    from django_redis.exceptions import ConnectionInterrupted
    from redis.exceptions import RedisError

    REDIS_ERRORS = (ConnectionInterrupted, RedisError)
STORE_ERRORS: tuple[type[Exception], ...] = (DatabaseStoreError, *REDIS_ERRORS)

_SET = """
    INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    RETURNING value
"""
_INCREMENT = """
    INSERT INTO counters AS c (key, value, expires_at) VALUES (%(key)s, %(value)s, %(expires_at)s)
    ON CONFLICT (key) DO UPDATE SET
        value = excluded.value + CASE WHEN c.expires_at > %(now)s THEN c.value ELSE 0 END,
        expires_at = CASE WHEN c.expires_at > %(now)s THEN c.expires_at ELSE excluded.expires_at END
    RETURNING value
"""


class DatabaseCounterCache(BaseCache):
    """Stores whole numbers only: `add` and `incr`, `get`, `set`, `delete`, `clear`.

    A caller that counts calls `add` and then `incr`, as django-ratelimit does. To make that one statement,
    `add` never adds: it notes the timeout, with which `incr` creates the counter if there is none. Django
    gives each thread an instance of its own.
    """

    _timeout: Any = DEFAULT_TIMEOUT

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        self._timeout = timeout
        return False

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        value = self._execute(_INCREMENT, key, version, value=delta, timeout=self._timeout)
        return value or 0

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        self._execute(_SET, key, version, value=value, timeout=timeout)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        sql = "SELECT value FROM counters WHERE key = %(key)s AND expires_at > %(now)s"
        value = self._execute(sql, key, version)
        return default if value is None else value

    def delete(self, key: str, version: int | None = None) -> bool:
        sql = "DELETE FROM counters WHERE key = %(key)s RETURNING value"
        return self._execute(sql, key, version) is not None

    def clear(self) -> None:
        self._execute("DELETE FROM counters RETURNING value", "", None)

    def _execute(
        self, sql: str, key: str, version: int | None, *, value: int = 0, timeout: Any = DEFAULT_TIMEOUT
    ) -> int | None:
        """`value` of the returned row, if any. A counter with a timeout of None never expires."""
        now = timezone.now()
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        parameters = {
            "key": self.make_and_validate_key(key, version=version),
            "value": value,
            "now": now,
            "expires_at": datetime.max.replace(tzinfo=UTC)
            if seconds is None
            else now + timedelta(seconds=seconds),
        }
        row = fetch_row(sql, parameters)
        return row[0] if row else None
