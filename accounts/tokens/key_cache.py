"""The key ring of this process: keys of the environment, or those of the table `signing_keys`.

The table is read again at most once a second, so that a rotation reaches every process without a
restart. Parsed keys are kept, because parsing a private key costs as much as 150 signatures.
"""

import threading
import time
from dataclasses import replace

from cryptography.hazmat.primitives import serialization
from django.conf import settings

from accounts.models import SigningKey

from .keys import Key, KeyRing
from .pem import decrypt_private_key, environment_keys

CACHE_SECONDS = 1.0


class _KeyRingCache:
    def __init__(self) -> None:
        self._ring: KeyRing | None = None
        self._read_at = 0.0
        self._reading = threading.Lock()
        self._parsed: dict[str, Key] = {}

    def current(self) -> KeyRing:
        ring = self._ring
        if ring is None:
            return self._first_ring()
        return ring if self._is_fresh() else self._newer_ring(ring)

    def _first_ring(self) -> KeyRing:
        """One thread reads the keys; the others wait for it."""
        with self._reading:
            return self._ring or self._read()

    def _newer_ring(self, ring: KeyRing) -> KeyRing:
        """One thread reads the keys again; the others go on with `ring`.

        If they waited while PostgreSQL is down, each would wait in turn for a failure of its own.
        """
        if not self._reading.acquire(blocking=False):
            return ring
        try:
            return self._read()
        finally:
            self._reading.release()

    def invalidate(self) -> None:
        self._ring, self._parsed = None, {}

    def _is_fresh(self) -> bool:
        return bool(settings.JWT_SECRET_KEY) or time.monotonic() - self._read_at < CACHE_SECONDS

    def _read(self) -> KeyRing:
        ring = KeyRing(environment_keys() if settings.JWT_SECRET_KEY else self._stored_keys())
        self._ring, self._read_at = ring, time.monotonic()
        return ring

    def _stored_keys(self) -> list[Key]:
        rows = SigningKey.objects.filter(algorithm=settings.JWT_ALGORITHM)
        return [self._stored_key(row) for row in rows]

    def _stored_key(self, row: SigningKey) -> Key:
        """The same object as before, unless the row has changed."""
        key = self._parsed.get(row.kid)
        if key is None:
            public = serialization.load_pem_public_key(row.public_key.encode())
            key = Key(row.kid, public, decrypt_private_key(bytes(row.private_key)))
        if (key.activates_at, key.expires_at) != (row.activates_at, row.expires_at):
            key = replace(key, activates_at=row.activates_at, expires_at=row.expires_at)
        self._parsed[row.kid] = key
        return key


_cache = _KeyRingCache()


def key_ring() -> KeyRing:
    return _cache.current()


def invalidate_key_ring() -> None:
    """Read the keys again at the next use."""
    _cache.invalidate()
