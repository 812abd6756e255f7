"""The lockout: after five wrong passwords (MAX_FAILED_LOGIN_ATTEMPTS) none is verified for a while.

Parallel attempts can't exceed the limit: an attempt is reserved in a committed statement before its password
is verified. The result turns the reservation into a failure, or resets the count. Reserving and finishing
are functions of the database (accounts/sql/lockout_*.sql). The app role can call them, but can't read
their tables, which hold addresses of all tenants. The app role can use only the API's scope, and no laxer
limits than those in `lockout_limits`, which the worker copies from the settings.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from axes.models import AccessAttempt
from django.conf import settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import sql
from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.models import LockoutLimits

from . import password_hashing

MAX_WAIT = 2.0  # seconds, for the results of other attempts
POLL_INTERVAL = 0.05  # seconds
LEASE = timedelta(seconds=20)  # after which the reservation of a killed process expires


class LoginScope(StrEnum):
    """Each scope has its own count, so that the API can't be used to lock out staff."""

    API = "api"
    ADMIN = "admin"
    SECOND_FACTOR = "second_factor"


@dataclass(frozen=True)
class Outcome:
    """The result of a verification, and until when it locked the account (None: it did not)."""

    result: password_hashing.VerificationResult
    locked_until: datetime | None = None


def verify_password(
    *, email: str, password: str, encoded: str | None, scope: LoginScope = LoginScope.API
) -> Outcome:
    """Verify a password for a canonical address, whether or not there is such an account.

    Raises:
        AccountLockedError: too many failures; the password was not verified.
        RateLimitedError: as many attempts as may still fail are under way, or this one took too long.

    """
    return count_attempt(lambda: password_hashing.verify(password, encoded), email=email, scope=scope)


def count_attempt(
    verify: Callable[[], password_hashing.VerificationResult], *, email: str, scope: LoginScope
) -> Outcome:
    """Count an attempt in `scope`, which `verify` checks. Raises what verify_password raises."""
    reservation = _reserve(email, scope)
    try:
        result = verify()
    except BaseException:
        sql.lockout_release(reservation=reservation)
        raise
    locked_until = _finish(reservation, email, scope, failed=not result.is_right)
    return Outcome(result, locked_until)


@dataclass(frozen=True)
class FailureCount:
    """The failures in one scope, and until when they lock it (None: they don't)."""

    scope: str
    failures: int
    locked_until: datetime | None


def failure_counts(email: str) -> list[FailureCount]:
    """For operators: the scopes in which a canonical address has failures."""
    now = timezone.now()
    attempts = AccessAttempt.objects.filter(
        username=email,
        failures_since_start__gt=0,
        attempt_time__gt=now - settings.ACCOUNT_LOCKOUT_DURATION,
    )
    return [_failure_count(attempt) for attempt in attempts.order_by("user_agent")]


def _failure_count(attempt: AccessAttempt) -> FailureCount:
    is_locked = attempt.failures_since_start >= settings.MAX_FAILED_LOGIN_ATTEMPTS
    end = attempt.attempt_time + settings.ACCOUNT_LOCKOUT_DURATION
    return FailureCount(attempt.user_agent, attempt.failures_since_start, end if is_locked else None)


def unlock(email: str, scope: LoginScope = LoginScope.API) -> None:
    """Reset the count. The app role can do so only inside the scope of the account at that address."""
    sql.lockout_unlock(login_scope=scope, address=email)


def store_limits() -> None:
    """Copy the limits from the settings to the database, as the operator.

    Until then, the old limits bind server processes with laxer settings.
    """
    limits = {
        "attempts": settings.MAX_FAILED_LOGIN_ATTEMPTS,
        "duration": settings.ACCOUNT_LOCKOUT_DURATION,
    }
    if not LockoutLimits.objects.filter(**limits).exists():
        LockoutLimits.objects.update_or_create(id=1, defaults=limits)


def _reserve(email: str, scope: LoginScope) -> UUID:
    deadline = time.monotonic() + MAX_WAIT
    reservation = uuid7()
    while True:
        reserved = sql.lockout_reserve(
            login_scope=scope,
            address=email,
            reservation=reservation,
            max_failures=settings.MAX_FAILED_LOGIN_ATTEMPTS,
            lock_duration=settings.ACCOUNT_LOCKOUT_DURATION,
            lease=LEASE,
        )
        if reserved.verdict == "go":
            return reservation
        if reserved.locked_until:
            raise AccountLockedError(reserved.locked_until)
        if time.monotonic() >= deadline:
            raise RateLimitedError(1)
        time.sleep(POLL_INTERVAL)


def _finish(reservation: UUID, email: str, scope: LoginScope, *, failed: bool) -> datetime | None:
    failures = sql.lockout_finish(login_scope=scope, address=email, reservation=reservation, failed=failed)
    if failures is None:  # the reservation has expired, so the result is discarded
        raise RateLimitedError(1)
    if failed and failures == settings.MAX_FAILED_LOGIN_ATTEMPTS:
        return timezone.now() + settings.ACCOUNT_LOCKOUT_DURATION
    return None
