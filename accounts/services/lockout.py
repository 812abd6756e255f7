"""Five wrong passwords, and not a sixth, however many come at once.

An attempt is reserved in a committed statement before its password is looked at; the verdict
turns it into a failure, or ends the count. Both are functions of the database (migration 0016)
that the app may fetch_row and whose tables it can't see: they name addresses of every tenant. For the app
they count in the API's scope alone, and by limits that the worker keeps equal to the settings.
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

LONGEST_WAIT = 2.0  # seconds, for the verdicts on others' attempts
POLL = 0.05
LEASE = timedelta(seconds=20)  # of a reservation; the attempt of a killed process ends with it


class LoginScope(StrEnum):
    """Each keeps a count of its own, so that nobody locks staff out through the API."""

    API = "api"
    ADMIN = "admin"
    SECOND_FACTOR = "second_factor"


@dataclass(frozen=True)
class Outcome:
    """The verdict on a password, and until when it locked the account (None: it did not)."""

    verdict: password_hashing.VerificationResult
    locked_until: datetime | None = None


def verify_password(
    *, email: str, password: str, encoded: str | None, scope: LoginScope = LoginScope.API
) -> Outcome:
    """Look at a password for a canonical address, whether or not there is such an account.

    Raises:
        AccountLockedError: too many failures; the password was not looked at.
        RateLimitedError: as many attempts as may still fail are being looked at, or this one took too long.

    """
    return count_attempt(lambda: password_hashing.verify(password, encoded), email=email, scope=scope)


def count_attempt(
    look: Callable[[], password_hashing.VerificationResult], *, email: str, scope: LoginScope
) -> Outcome:
    """FailureCount a guess at `scope`, and let `look` judge it; raises as verify_password does."""
    reservation = _reserve(email, scope)
    try:
        verdict = look()
    except BaseException:
        _release(reservation)
        raise
    locked_until = _finish(reservation, email, scope, failed=not verdict.is_right)
    return Outcome(verdict, locked_until)


@dataclass(frozen=True)
class FailureCount:
    """The failures at one scope, and until when they lock it (None: they don't)."""

    scope: str
    failures: int
    locked_until: datetime | None


def failure_counts(email: str) -> list[FailureCount]:
    """What stands against a canonical address, for operators; nothing where all is well."""
    now = timezone.now()
    standing = AccessAttempt.objects.filter(
        username=email,
        failures_since_start__gt=0,
        attempt_time__gt=now - settings.ACCOUNT_LOCKOUT_DURATION,
    )
    return [_count(attempt) for attempt in standing.order_by("user_agent")]


def _count(attempt: AccessAttempt) -> FailureCount:
    is_locked = attempt.failures_since_start >= settings.MAX_FAILED_LOGIN_ATTEMPTS
    end = attempt.attempt_time + settings.ACCOUNT_LOCKOUT_DURATION
    return FailureCount(attempt.user_agent, attempt.failures_since_start, end if is_locked else None)


def unlock(email: str, scope: LoginScope = LoginScope.API) -> None:
    """End the count, and with it a lock; the app does it inside the scope of the account at that address."""
    sql.lockout_unlock(login_scope=scope, address=email)


def keep_limits() -> None:
    """Tell the database what the settings say; as the operator.

    Until then a process of the API with laxer settings counts by the old ones.
    """
    wanted = {
        "attempts": settings.MAX_FAILED_LOGIN_ATTEMPTS,
        "duration": settings.ACCOUNT_LOCKOUT_DURATION,
    }
    if not LockoutLimits.objects.filter(**wanted).exists():
        LockoutLimits.objects.update_or_create(id=1, defaults=wanted)


def _reserve(email: str, scope: LoginScope) -> UUID:
    deadline = time.monotonic() + LONGEST_WAIT
    reservation = uuid7()
    while True:
        made = sql.lockout_reserve(
            login_scope=scope,
            address=email,
            reservation=reservation,
            max_failures=settings.MAX_FAILED_LOGIN_ATTEMPTS,
            lock_duration=settings.ACCOUNT_LOCKOUT_DURATION,
            lease=LEASE,
        )
        if made.verdict == "go":
            return reservation
        if made.locked_until:
            raise AccountLockedError(made.locked_until)
        if time.monotonic() >= deadline:
            raise RateLimitedError(1)
        time.sleep(POLL)


def _finish(reservation: UUID, email: str, scope: LoginScope, *, failed: bool) -> datetime | None:
    failures = sql.lockout_finish(login_scope=scope, address=email, reservation=reservation, failed=failed)
    if failures is None:  # too slow: the verdict stays unsaid
        raise RateLimitedError(1)
    if failed and failures == settings.MAX_FAILED_LOGIN_ATTEMPTS:
        return timezone.now() + settings.ACCOUNT_LOCKOUT_DURATION
    return None


def _release(reservation: UUID) -> None:
    sql.lockout_release(reservation=reservation)
