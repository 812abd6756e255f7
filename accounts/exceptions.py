"""Errors of the services. `api/problems.py` maps them to HTTP status codes."""

import math
from datetime import datetime
from typing import ClassVar

from django.utils import timezone

RETRY_AFTER = 2  # seconds; the default for 429 and 503


class AccountsError(Exception):
    """An error with a problem `code` and `detail` (RFC 9457)."""

    code: ClassVar[str]
    detail: ClassVar[str]


class AdminError(AccountsError):
    """An error that occurs in the admin site only, so it has no problem."""


class InvalidCredentialsError(AccountsError):
    """Unknown account, wrong password, unverified, deactivated or staff: the response does not say which."""

    code = "invalid_credentials"
    detail = "Email or password is wrong."


class InvalidTokenError(AccountsError):
    """A bearer or refresh token that is invalid, or whose session has ended."""

    code = "invalid_token"
    detail = "The token is invalid or has expired."


class TokenReusedError(AccountsError):
    """A used refresh token was used again; its session has ended."""

    code = "token_reused"
    detail = "This refresh token was used before; its session has been ended."


class InvalidLinkError(AccountsError):
    """A mailed token that is unknown, used or expired."""

    code = "invalid_token"
    detail = "The link is invalid or has expired."


class WeakPasswordError(AccountsError):
    """A password that the validators refuse. `errors` has (code, message) pairs."""

    code = "invalid_input"
    detail = "The password is too weak."

    def __init__(self, errors: list[tuple[str, str]], field: str = "password") -> None:
        super().__init__()
        self.errors = errors
        self.field = field


class NoSigningKeyError(AccountsError):
    """No key can sign: an operator must run `ensure_signing_key` or restore SECRET_KEY."""

    code = "unavailable"
    detail = "The service can't issue tokens at the moment."


class CreatorNotFoundError(AccountsError):
    """There is no active creator with this id."""

    code = "not_found"
    detail = "There is no such creator."


class JustificationRequiredError(AdminError):
    """An operator wants to see or change a creator's account without a justification."""


class AddressTakenError(AdminError):
    """Another account has confirmed this email address."""


class WrongPasswordError(AccountsError):
    """A signed-in creator entered a wrong password."""

    code = "invalid_credentials"
    detail = "The password is wrong."


class PasswordMustBeResetError(WrongPasswordError):
    """A change of address was undone, so an attacker may know the password."""

    detail = "A change of the email address was undone, so reset the password first."


class AccountLockedError(AccountsError):
    """Too many wrong passwords; no password is verified before `until`."""

    code = "account_locked"
    detail = "Too many failed attempts. Try again later, or reset the password."

    def __init__(self, until: datetime) -> None:
        super().__init__()
        self.until = until

    @property
    def retry_after(self) -> int:
        """Seconds, rounded up."""
        return math.ceil((self.until - timezone.now()).total_seconds())


class RateLimitedError(AccountsError):
    """The client may try again in `retry_after` seconds."""

    code = "rate_limited"
    detail = "Too many requests."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class BusyError(AccountsError):
    """No hashing slot is free."""

    code = "busy"
    detail = "Too many sign-ins at once. Try again in a moment."
    retry_after = 1


class LimitsUnavailableError(AccountsError):
    """The counter store failed. Rate limits fail closed."""

    code = "unavailable"
    detail = "The service is unavailable at the moment."


class LengthRequiredError(AccountsError):
    """A request body without Content-Length (RFC 9110 § 15.5.12)."""

    code = "length_required"
    detail = "Send the body with Content-Length, not chunked."
