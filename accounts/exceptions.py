"""One class a fact, without HTTP; `api/problems.py` has their status codes."""

import math
from datetime import datetime
from typing import ClassVar

from django.utils import timezone

RETRY_AFTER = 2  # seconds, for a 429 or 503 that gives no time of its own


class AccountsError(Exception):
    """What a service refuses; `code` is what the API answers."""

    code: ClassVar[str]
    detail: ClassVar[str]


class InvalidCredentialsError(AccountsError):
    """Unknown, wrong, unverified, deactivated, staff: nobody can tell which."""

    code = "invalid_credentials"
    detail = "E-mail or password is wrong."


class InvalidTokenError(AccountsError):
    """A bearer or refresh token that does not verify, or whose session is over."""

    code = "invalid_token"
    detail = "The token is invalid or has expired."


class TokenReusedError(AccountsError):
    """A spent refresh token was shown again; its session has ended."""

    code = "token_reused"
    detail = "This refresh token was used before; its session has been ended."


class InvalidLinkError(AccountsError):
    """A mailed token that is unknown, spent or expired."""

    code = "invalid_token"
    detail = "The link is invalid or has expired."


class WeakPasswordError(AccountsError):
    """A password that the validators refuse; `errors` has (code, sentence) pairs, `field` its name."""

    code = "invalid_input"
    detail = "The password is too weak."

    def __init__(self, errors: list[tuple[str, str]], field: str = "password") -> None:
        super().__init__()
        self.errors = errors
        self.field = field


class NoSigningKeyError(AccountsError):
    """No key can sign: an operator must run `ensure_signing_key` or mend SECRET_KEY."""

    code = "unavailable"
    detail = "The service can't issue tokens at the moment."


class CreatorNotFoundError(AccountsError):
    """There is no creator of this id who takes visitors."""

    code = "not_found"
    detail = "There is no such creator."


class JustificationRequiredError(AccountsError):
    """An operator wants to see or change a creator's account and has not said why."""

    code = "reason_required"
    detail = "Say why first; the creator will read it."


class AddressTakenError(AccountsError):
    """Another account has confirmed this e-mail address."""

    code = "address_taken"
    detail = "Another account has confirmed this e-mail address."


class WrongPasswordError(AccountsError):
    """The password of a signed-in creator, asked again, was wrong."""

    code = "invalid_credentials"
    detail = "The password is wrong."


class PasswordMustBeResetError(WrongPasswordError):
    """A change of address was undone, and a thief may know the password."""

    detail = "A change of the e-mail address was undone, so reset the password first."


class AccountLockedError(AccountsError):
    """Too many wrong passwords; none is looked at before `until`."""

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
    """The client may come back in `retry_after` seconds."""

    code = "rate_limited"
    detail = "Too many requests."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class BusyError(AccountsError):
    """As many passwords are being looked at as the process can take."""

    code = "busy"
    detail = "Too many are signing in at once. Try again in a moment."
    retry_after = 1


class LimitsUnavailableError(AccountsError):
    """The counters are gone, and a door that can't count stays shut."""

    code = "unavailable"
    detail = "The service is unavailable at the moment."


class LengthRequiredError(AccountsError):
    """A request body without Content-Length (RFC 9110 § 15.5.12)."""

    code = "length_required"
    detail = "Send the body with Content-Length, not chunked."
