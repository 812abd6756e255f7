"""Counters for the rate limits without Redis: Django's cache API on an UNLOGGED table.

Django's DatabaseCache reads and then writes, so concurrent increments are lost.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.db import Error as DatabaseStoreError
from django.utils import timezone

from tenancy.context import fetch_row

REDIS_ERRORS: tuple[type[Exception], ...] = ()
if settings.REDIS_URL:  # otherwise its modules are not loaded
    from django_redis.exceptions import ConnectionInterrupted
    from redis.exceptions import RedisError

    REDIS_ERRORS = (ConnectionInterrupted, RedisError)
STORE_ERRORS: tuple[type[Exception], ...] = (DatabaseStoreError, *REDIS_ERRORS)

INCREMENT = """
    INSERT INTO counters (key, value, expires_at) VALUES (%(key)s, %(delta)s, %(expires_at)s)
    ON CONFLICT (key) DO UPDATE SET value = counters.value + excluded.value
    RETURNING value
    """
GET = "SELECT value FROM counters WHERE key = %(key)s AND expires_at > %(now)s"
CLEAR = "DELETE FROM counters RETURNING 1"


class DatabaseCounterCache(BaseCache):
    """Counts in one statement each. A counter starts with its first `incr`.

    django-ratelimit calls `add` and then `incr`. Here `add` returns False without a query; it only sets the
    timeout of the counter that the next `incr` may create. Django gives each thread its own cache object.
    Keys contain their window, so an expired counter is never counted again.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._timeout: float = 0  # seconds

    def add(self, key: str, value: Any, timeout: Any = 0, version: int | None = None) -> bool:
        self._timeout = timeout
        return False

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        expires_at = timezone.now() + timedelta(seconds=self._timeout)
        row = fetch_row(INCREMENT, {"key": self._key(key, version), "delta": delta, "expires_at": expires_at})
        return int(row[0])

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        row = fetch_row(GET, {"key": self._key(key, version), "now": timezone.now()})
        return row[0] if row else default

    def clear(self) -> None:
        fetch_row(CLEAR, {})

    def _key(self, key: str, version: int | None) -> str:
        return str(self.make_and_validate_key(key, version=version))
