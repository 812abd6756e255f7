"""Concurrency slots for requests that hash, call HaveIBeenPwned or wait for the lockout.

Such a request holds a thread of the server for up to seconds. There are fewer slots than threads, so other
requests are always served.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from accounts.exceptions import BusyError

RESERVED_THREADS = 2  # of each process
_slots = threading.BoundedSemaphore(max(1, settings.WORKER_THREADS - RESERVED_THREADS))


@contextmanager
def hashing_slot(needed: bool) -> Iterator[None]:  # noqa: FBT001
    """Hold a slot, if one is needed.

    Raises:
        BusyError: no slot is free.

    """
    if not needed:
        yield
        return
    if not _slots.acquire(blocking=False):
        raise BusyError
    try:
        yield
    finally:
        _slots.release()
