"""Judging, hashing and checking passwords.

Hashing is slow on purpose. It is never done inside a transaction; and in each process two threads
do it, behind whatever else the machine has to do, so that sign-ins don't slow down the rest.
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
from accounts.exceptions import WeakPasswordError
from accounts.models import Creator
from accounts.passwords.hashers import normalize
from accounts.passwords.validators import MAXIMUM_LENGTH
from audit.requests.metrics import HASHING_SECONDS
from tenancy.context import current_alias
from tenancy.exceptions import TenancyError

Result = TypeVar("Result")
NICENESS = 5  # of 19
HASHING_THREADS = (
    2  # in each process: while one's request is with the database, the other keeps the core at work
)


@dataclass(frozen=True)
class VerificationResult:
    """Was the password right, and should it be hashed anew with today's method?"""

    is_right: bool
    needs_upgrade: bool = False


def validate(password: str, *, email: str, display_name: str = "", field: str = "password") -> None:
    """Raises WeakPasswordError with all that is wrong with the password, which came as `field`."""
    try:
        creator = Creator(email=display_email(email), display_name=display_name)
        validate_password(normalize(password), creator)
    except ValidationError as error:
        errors = [(str(one.code), " ".join(one.messages)) for one in error.error_list]
        raise WeakPasswordError(errors, field) from error


def suggestions(*, password: str, email: str = "") -> list[str]:
    """All that would make the password better, as sentences; none if it is good."""
    try:
        validate(password, email=email)
    except WeakPasswordError as error:
        return [sentence for _code, sentence in error.errors]
    return []


def hash_password(password: str) -> str:
    _refuse_inside_transaction()
    return _run_in_pool(lambda: hashers.make_password(normalize(password)))


def verify(password: str, encoded: str | None) -> VerificationResult:
    """Check against `encoded`, or against nothing in the same time where there is no such account."""
    _refuse_inside_transaction()
    password = normalize(password)
    if len(password) > MAXIMUM_LENGTH:
        return VerificationResult(is_right=False)
    if encoded is None:
        hash_password(password)
        return VerificationResult(is_right=False)
    is_right, needs_upgrade = _run_in_pool(lambda: hashers.verify_password(password, encoded))
    return VerificationResult(is_right, is_right and needs_upgrade)


def _refuse_inside_transaction() -> None:
    if settings.TENANT_GUARD and transaction.get_connection(current_alias()).in_atomic_block:
        message = "a password is hashed inside a transaction"
        raise TenancyError(message)


def _run_in_pool(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, once those who came before are done."""

    def timed() -> Result:
        with HASHING_SECONDS.time():
            return work()

    return _hasher.submit(timed).result()


def _lower_priority() -> None:
    """Linux counts niceness by thread, and libargon2's threads inherit it from this one."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_hasher = ThreadPoolExecutor(HASHING_THREADS, "hashing", initializer=_lower_priority)
