"""One class a fact, without HTTP; `api/problems.py` has their status codes."""

from typing import ClassVar


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
    """A password that the validators refuse; `errors` has (code, sentence) pairs."""

    code = "invalid_input"
    detail = "The password is too weak."

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__()
        self.errors = errors


class NoSigningKeyError(AccountsError):
    """No key can sign: an operator must run `ensure_signing_key` or mend SECRET_KEY."""

    code = "unavailable"
    detail = "The service can't issue tokens at the moment."
