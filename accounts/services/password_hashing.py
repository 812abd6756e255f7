"""Validating, hashing and verifying passwords.

Hashing is slow on purpose. It never happens inside a transaction. Each process hashes in a pool of two
threads of low priority, so that sign-ins don't slow down other requests.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from django.conf import settings
from django.contrib.auth import hashers
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.email_addresses import display_email
from accounts.exceptions import RateLimitedError, WeakPasswordError
from accounts.models import Creator
from accounts.passwords.hashers import normalize
from accounts.passwords.validators import MAXIMUM_LENGTH
from audit.requests.metrics import HASHING_SECONDS
from tenancy.context import current_alias
from tenancy.exceptions import TenancyError

Result = TypeVar("Result")
NICENESS = 5  # of 19
HASHING_THREADS = 2  # in each process: one hashes while the request of the other uses the database
MAX_VERIFICATIONS = 3


@dataclass(frozen=True)
class VerificationResult:
    """Whether the password is right, and whether its hash should be replaced by one of today's costs."""

    is_right: bool
    needs_upgrade: bool = False


def validate(password: str, *, email: str, display_name: str = "", field: str = "password") -> None:
    """Raises WeakPasswordError with all errors of the password that the client sent as `field`."""
    try:
        creator = Creator(email=display_email(email), display_name=display_name)
        validate_password(normalize(password), creator)
    except ValidationError as error:
        errors = [(str(item.code), " ".join(item.messages)) for item in error.error_list]
        raise WeakPasswordError(errors, field) from error


def suggestions(*, password: str, email: str = "") -> list[str]:
    """Sentences that say how to improve the password; none if it is good."""
    try:
        validate(password, email=email)
    except WeakPasswordError as error:
        return [sentence for _code, sentence in error.errors]
    return []


def hash_password(password: str) -> str:
    _refuse_inside_transaction()
    return _run_in_pool(lambda: hashers.make_password(normalize(password)))


def verify(password: str, encoded: str | None) -> VerificationResult:
    """Verify against `encoded`. If it is None (no such account), hash, which takes the same time."""
    _refuse_inside_transaction()
    password = normalize(password)
    if len(password) > MAXIMUM_LENGTH:
        return VerificationResult(is_right=False)
    if encoded is None:
        hash_password(password)
        return VerificationResult(is_right=False)
    is_right, needs_upgrade = _run_in_pool(lambda: hashers.verify_password(password, encoded))
    return VerificationResult(is_right, is_right and needs_upgrade)


def retry_if_changed(verify_and_write: Callable[[], Result | None]) -> Result:
    """Call `verify_and_write` until it returns a result, at most MAX_VERIFICATIONS times.

    It verifies a password outside of transactions, then opens one, locks the account, and writes only if
    the account still has the verified hash. It returns None if not: the password was changed, reset or
    upgraded meanwhile, and must be verified again.

    Raises RateLimitedError: the hash was another one each time.
    """
    for _ in range(MAX_VERIFICATIONS):
        result = verify_and_write()
        if result is not None:
            return result
    raise RateLimitedError(1)


def _refuse_inside_transaction() -> None:
    if settings.TENANT_GUARD and transaction.get_connection(current_alias()).in_atomic_block:
        message = "a password is hashed inside a transaction"
        raise TenancyError(message)


def _run_in_pool(work: Callable[[], Result]) -> Result:
    """Run `work` in the pool; returns its result or raises its exception."""

    def timed() -> Result:
        with HASHING_SECONDS.time():
            return work()

    return _pool.submit(timed).result()


def _lower_priority() -> None:
    """On Linux each thread has its own niceness, which the threads of libargon2 inherit."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_pool = ThreadPoolExecutor(HASHING_THREADS, "hashing", initializer=_lower_priority)
