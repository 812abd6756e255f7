"""HaveIBeenPwned: finds breached passwords, and can't delay or prevent a sign-up if it fails.

pwned-passwords-django sends the query (k-anonymity, padding). Added here: the URL is a setting; the whole
exchange has a deadline (httpx's timeouts are per read, so a server that sends byte by byte could block it);
at most MAX_CONCURRENCY queries run at once. Without a result the password counts as unknown and an event
is recorded. After BREAKER_THRESHOLD failures in a row no query is sent for BREAKER_RESET_SECONDS.
"""

import ssl
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import httpx
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from pwned_passwords_django.api import PwnedPasswords
from pwned_passwords_django.exceptions import PwnedPasswordsError

from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.requests.logs import request_id
from audit.requests.metrics import BREACH_CHECKS

BREAKER_THRESHOLD = 3
BREAKER_RESET_SECONDS = 60.0
MAX_CONCURRENCY = 4


class PwnedPasswordsClient:
    """The client of this process, with its deadline and circuit breaker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_CONCURRENCY, thread_name_prefix="hibp")
        self._slots = threading.BoundedSemaphore(MAX_CONCURRENCY)
        self._failures = 0
        self._open_until = 0.0

    def count(self, password: str) -> int | None:
        """How often the password was breached; None if that is unknown."""
        if time.monotonic() < self._open_until:
            _record_failure("CIRCUIT_OPEN", "skipped")
        elif not self._slots.acquire(blocking=False):
            _record_failure("BUSY", "skipped")
        else:
            return self._query_in_time(_Api(), password)
        return None

    def _query_in_time(self, api: "_Api", password: str) -> int | None:
        future: Future[int] = self._pool.submit(self._query, api, password)
        try:
            count = future.result(timeout=settings.HIBP_TIMEOUT_SECONDS)
        except TimeoutError:
            api.client.close()  # fails the thread's next read, so that it ends
            self._fail("TIMEOUT")
        except PwnedPasswordsError as error:
            self._fail(error.code.name.removeprefix("API_"))
        else:
            self._failures = 0
            BREACH_CHECKS.labels("breached" if count else "clean").inc()
            return count
        return None

    def _query(self, api: "_Api", password: str) -> int:
        try:
            return int(api.check_password(password))
        finally:
            api.client.close()
            self._slots.release()

    def _fail(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= BREAKER_THRESHOLD:
            self._open_until, self._failures = time.monotonic() + BREAKER_RESET_SECONDS, 0
        _record_failure(reason, "failed")


def _record_failure(reason: str, outcome: str) -> None:
    BREACH_CHECKS.labels(outcome).inc()
    record(Event.BREACH_CHECK_FAILED, client=ClientInfo(request_id=request_id.get()), reason=reason)


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Api(PwnedPasswords):  # type: ignore[misc]
    """The package's class without its asynchronous client, which would never be closed."""

    def __init__(self) -> None:
        self.api_endpoint = f"{settings.HIBP_API_URL}/range/"
        self.request_timeout = httpx.Timeout(settings.HIBP_TIMEOUT_SECONDS)
        self.add_padding = True
        self.client = httpx.Client(verify=_ssl_context())


pwned_passwords = PwnedPasswordsClient()


class BreachedPasswordValidator:
    """Refuses breached passwords. If the service gives no result, only the other validators count."""

    def validate(self, password: str, user: Any = None) -> None:
        if settings.HIBP_ENABLED and pwned_passwords.count(password):
            raise ValidationError(_("This password is known from a data breach."), code="password_breached")

    def get_help_text(self) -> str:
        return _("Use a password that is not known from a data breach.")
