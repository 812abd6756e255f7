"""HaveIBeenPwned, which may be slow, down or talking rubbish without anybody waiting for it.

pwned-passwords-django asks (k-anonymity, padding); ours are the endpoint, a deadline for the whole
exchange (httpx's are per read, and a server that drips would hold us) and the decision what
wait_until without an answer: the local rules have judged, the event is recorded, and after repeated
failures the server is left alone for a while.
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

BREAKER_THRESHOLD = 3  # failures in a row
BREAKER_RESET_SECONDS = 60.0  # seconds
MAX_CONCURRENCY = 4


class PwnedPasswordsClient:
    """One client for the process, with its deadline and its breaker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_CONCURRENCY, thread_name_prefix="hibp")
        self._asking = threading.BoundedSemaphore(MAX_CONCURRENCY)
        self._failures = 0
        self._closed_until = 0.0

    def count(self, password: str) -> int | None:
        """How often the password is in the pwned_passwords; None where nobody says in time."""
        if time.monotonic() < self._closed_until:
            _record_failure("LEFT_ALONE", "skipped")
        elif not self._asking.acquire(blocking=False):
            _record_failure("BUSY", "skipped")
        else:
            return self._answer(_Api(), password)
        return None

    def _answer(self, api: "_Api", password: str) -> int | None:
        future: Future[int] = self._pool.submit(self._ask, api, password)
        try:
            count = future.result(timeout=settings.HIBP_TIMEOUT_SECONDS)
        except TimeoutError:
            api.client.close()  # under the thread's feet: what it waits for ends with its next read
            self._fail("TIMEOUT")
        except PwnedPasswordsError as error:
            self._fail(error.code.name.removeprefix("API_"))
        else:
            self._failures = 0
            BREACH_CHECKS.labels("breached" if count else "clean").inc()
            return count
        return None

    def _ask(self, api: "_Api", password: str) -> int:
        try:
            return int(api.check_password(password))
        finally:
            api.client.close()
            self._asking.release()

    def _fail(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= BREAKER_THRESHOLD:
            self._closed_until, self._failures = time.monotonic() + BREAKER_RESET_SECONDS, 0
        _record_failure(reason, "failed")


def _record_failure(reason: str, outcome: str) -> None:
    BREACH_CHECKS.labels(outcome).inc()
    record(Event.BREACH_CHECK_FAILED, client=ClientInfo(request_id=request_id.get()), reason=reason)


@cache
def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Api(PwnedPasswords):  # type: ignore[misc]
    """The package's, without the second, asynchronous client that it would make and never close."""

    def __init__(self) -> None:
        self.api_endpoint = f"{settings.HIBP_API_URL}/range/"
        self.request_timeout = httpx.Timeout(settings.HIBP_TIMEOUT_SECONDS)
        self.add_padding = True
        self.client = httpx.Client(verify=_trust())


pwned_passwords = PwnedPasswordsClient()


class BreachedPasswordValidator:
    """Refuses passwords that are known from pwned_passwords; without an answer the other rules decide."""

    def validate(self, password: str, user: Any = None) -> None:
        if settings.HIBP_ENABLED and pwned_passwords.count(password):
            raise ValidationError(_("This password is known from a data breach."), code="password_breached")

    def get_help_text(self) -> str:
        return _("Use a password that is not known from a data breach.")
