"""HaveIBeenPwned, which may be slow, down or talking rubbish without anybody waiting for it.

pwned-passwords-django asks (k-anonymity, padding); ours are the endpoint, a deadline for the whole
exchange (httpx's are per read, and a server that drips would hold us) and the decision what
happens without an answer: the local rules have judged, the event is recorded, and after repeated
failures the server is left alone for a while.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from pwned_passwords_django.api import PwnedPasswords
from pwned_passwords_django.exceptions import PwnedPasswordsError

from audit.book import record
from audit.clients import Client
from audit.events import Event
from audit.logs import request_id
from audit.metrics import BREACH_CHECKS

logging.getLogger("pwned_passwords_django").setLevel(logging.CRITICAL)  # its prefix is part of a hash
LEAVE_ALONE_AFTER = 3  # failures in a row
LEAVE_ALONE_FOR = 60.0  # seconds
ASKING_AT_ONCE = 4


class Breaches:
    """One client for the process, with its deadline and its breaker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(ASKING_AT_ONCE, thread_name_prefix="hibp")
        self._asking = threading.BoundedSemaphore(ASKING_AT_ONCE)
        self._failures = 0
        self._closed_until = 0.0

    def count(self, password: str) -> int | None:
        """How often the password is in the breaches; None where nobody says in time."""
        if time.monotonic() < self._closed_until or not self._asking.acquire(blocking=False):
            BREACH_CHECKS.labels("skipped").inc()
            return None
        future: Future[int] = self._pool.submit(self._released(_client().check_password), password)
        try:
            count = future.result(timeout=settings.HIBP_TIMEOUT_SECONDS)
        except (PwnedPasswordsError, TimeoutError) as error:
            self._fail(error)
            return None
        self._failures = 0
        BREACH_CHECKS.labels("breached" if count else "clean").inc()
        return count

    def _released(self, check: Callable[[str], int]) -> Callable[[str], int]:
        def run(password: str) -> int:
            try:
                return check(password)
            finally:
                self._asking.release()

        return run

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        BREACH_CHECKS.labels("failed").inc()
        if self._failures >= LEAVE_ALONE_AFTER:
            self._closed_until, self._failures = time.monotonic() + LEAVE_ALONE_FOR, 0
        reason = getattr(getattr(error, "code", None), "name", "TIMEOUT")
        record(Event.BREACH_CHECK_FAILED, client=Client(request_id=request_id.get()), reason=reason)


def _client() -> PwnedPasswords:
    client = PwnedPasswords()
    client.api_endpoint = f"{settings.HIBP_API_URL}/range/"
    client.request_timeout = settings.HIBP_TIMEOUT_SECONDS
    return client


breaches = Breaches()


class BreachedPasswordValidator:
    """Refuses passwords that are known from breaches; without an answer the other rules decide."""

    def validate(self, password: str, user: Any = None) -> None:
        if settings.HIBP_ENABLED and breaches.count(password):
            raise ValidationError(_("This password is known from a data breach."), code="password_breached")

    def get_help_text(self) -> str:
        return _("Use a password that is not known from a data breach.")
