"""Five wrong passwords, and not a sixth, however many come at once.

An attempt is reserved in a committed statement before its password is looked at; the verdict
turns it into a failure, or ends the count. Both are functions of the database (migration 0016)
that the app may call and whose tables it can't see: they name addresses of every tenant. For the app
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

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.models import LockoutLimits
from tenancy.context import call

from . import password_hashing

LONGEST_WAIT = 2.0  # seconds, for the verdicts on others' attempts
POLL = 0.05
LEASE = timedelta(seconds=20)  # of a reservation; the attempt of a killed process ends with it


class Door(StrEnum):
    """Each keeps a count of its own, so that nobody locks staff out through the API."""

    API = "api"
    ADMIN = "admin"
    SECOND_FACTOR = "second_factor"


@dataclass(frozen=True)
class Outcome:
    """The verdict on a password, and until when it locked the account (None: it did not)."""

    verdict: password_hashing.Verdict
    locked_until: datetime | None = None


def verify_password(*, email: str, password: str, encoded: str | None, door: Door = Door.API) -> Outcome:
    """Look at a password for a canonical address, whether or not there is such an account.

    Raises:
        AccountLockedError: too many failures; the password was not looked at.
        RateLimitedError: as many attempts as may still fail are being looked at, or this one took too long.

    """
    return attempt(lambda: password_hashing.verify(password, encoded), email=email, door=door)


def attempt(look: Callable[[], password_hashing.Verdict], *, email: str, door: Door) -> Outcome:
    """Count a guess at `door`, and let `look` judge it; raises as verify_password does."""
    reservation = _reserve(email, door)
    try:
        verdict = look()
    except BaseException:
        _release(reservation)
        raise
    locked_until = _settle(reservation, email, door, failed=not verdict.is_right)
    return Outcome(verdict, locked_until)


@dataclass(frozen=True)
class Count:
    """The failures at one door, and until when they lock it (None: they don't)."""

    door: str
    failures: int
    locked_until: datetime | None


def counts(email: str) -> list[Count]:
    """What stands against a canonical address, for operators; nothing where all is well."""
    now = timezone.now()
    standing = AccessAttempt.objects.filter(
        username=email,
        failures_since_start__gt=0,
        attempt_time__gt=now - settings.ACCOUNT_LOCKOUT_DURATION,
    )
    return [_count(attempt) for attempt in standing.order_by("user_agent")]


def _count(attempt: AccessAttempt) -> Count:
    is_locked = attempt.failures_since_start >= settings.MAX_FAILED_LOGIN_ATTEMPTS
    end = attempt.attempt_time + settings.ACCOUNT_LOCKOUT_DURATION
    return Count(attempt.user_agent, attempt.failures_since_start, end if is_locked else None)


def lift(email: str, door: Door = Door.API) -> None:
    """End the count, and with it a lock; the app does it inside the scope of the account at that address."""
    call("SELECT lockout_lift(%s, %s)", [door, email])


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


def _reserve(email: str, door: Door) -> UUID:
    deadline = time.monotonic() + LONGEST_WAIT
    reservation = uuid7()
    while True:
        limit, lock = settings.MAX_FAILED_LOGIN_ATTEMPTS, settings.ACCOUNT_LOCKOUT_DURATION
        verdict, until = call(
            "SELECT verdict, until FROM lockout_reserve(%s, %s, %s, %s, %s, %s)",
            [door, email, reservation, limit, lock, LEASE],
        )
        if verdict == "go":
            return reservation
        if verdict == "locked":
            raise AccountLockedError(until)
        if time.monotonic() >= deadline:
            raise RateLimitedError(1)
        time.sleep(POLL)


def _settle(reservation: UUID, email: str, door: Door, *, failed: bool) -> datetime | None:
    (failures,) = call("SELECT lockout_settle(%s, %s, %s, %s)", [door, email, reservation, failed])
    if failures is None:  # too slow: the verdict stays unsaid
        raise RateLimitedError(1)
    if failed and failures == settings.MAX_FAILED_LOGIN_ATTEMPTS:
        return timezone.now() + settings.ACCOUNT_LOCKOUT_DURATION
    return None


def _release(reservation: UUID) -> None:
    call("SELECT lockout_release(%s)", [reservation])
