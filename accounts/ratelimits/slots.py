"""Slots for requests that hold a server thread for up to seconds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from accounts.exceptions import BusyError

RESERVED_THREADS = 2  # of each process, for all other requests
_slots = threading.BoundedSemaphore(max(1, settings.WORKER_THREADS - RESERVED_THREADS))


@contextmanager
def hashing_slot() -> Iterator[None]:
    """A slot for a request that hashes, calls HaveIBeenPwned or waits on the lockout.

    Raises:
        BusyError: no slot is free.

    """
    if not _slots.acquire(blocking=False):
        raise BusyError
    try:
        yield
    finally:
        _slots.release()
