"""Access, refresh and end-user tokens: simplejwt's classes over our own keys and stricter checks.

RFC 7519 leaves most claims optional. Here all are required, because all are used.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Self
from uuid import UUID

import jwt
from django.conf import settings
from jwt.utils import base64url_decode, base64url_encode
from rest_framework_simplejwt import tokens as simplejwt
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from uuid_utils.compat import uuid7

from accounts.exceptions import InvalidTokenError

from .key_cache import key_ring
from .keys import Key

YEAR_9999 = 253_370_764_800  # seconds; the maximum of datetime
MAX_LENGTH = 4096  # characters; issued tokens have less than 1500
VERIFIED_CACHE_SIZE = 2048  # tokens in each process, about 4 MiB
HEADER_CACHE_SIZE = 64  # all tokens of a key have the same header
HEADER_MEMBERS = {"alg", "kid", "typ"}  # not jwk, jku, x5u or crit: a token must not choose its key
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "token_type"]


@dataclass(frozen=True)
class TokenPair:
    """The response to a sign-in or refresh; lifetimes in seconds."""

    access: str
    refresh: str
    expires_in: int
    refresh_expires_in: int


@dataclass(frozen=True)
class _Backend:
    """What simplejwt expects of a token backend, for tokens of one audience."""

    audience: str

    def get_leeway(self) -> Any:
        return timedelta(0)

    def encode(self, payload: dict[str, Any], kid: str | None = None) -> str:
        ring = key_ring()
        key = (kid and ring.get(kid)) or ring.signing_key()
        if key.private is None:
            key = ring.signing_key()
        header = _header(key, settings.JWT_ALGORITHM)
        signing_input = b".".join((header, base64url_encode(_json(payload).encode())))
        signature = jwt.get_algorithm_by_name(settings.JWT_ALGORITHM).sign(signing_input, key.private)
        return b".".join((signing_input, base64url_encode(signature))).decode()

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        """Raises TokenBackendError for anything but a token that this service could have issued."""
        try:
            if len(token) > MAX_LENGTH or not COMPACT.fullmatch(token):
                raise TokenBackendError
            key = key_ring().get(_kid(token.partition(".")[0]))
            if key is None:
                raise TokenBackendError
            payload = _verify(token, key, self.audience, settings.JWT_ISSUER, settings.JWT_ALGORITHM)
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise TokenBackendError from error
        return dict(payload)


@lru_cache(VERIFIED_CACHE_SIZE)
def _verify(token: str, key: Key, audience: str, issuer: str, algorithm: str) -> dict[str, Any]:
    """The claims of a token whose signature is valid. Cached: for the same key and bytes it stays valid.

    Keys and `exp` are checked each time, by `decode` and simplejwt.
    """
    options: Any = {"require": _REQUIRED, "strict_aud": True}
    payload = jwt.decode(
        token, key.public, algorithms=[algorithm], audience=audience, issuer=issuer, options=options
    )
    if not _claims_well_formed(payload):
        raise TokenBackendError
    _parse_members(base64url_decode(token.split(".")[1]))
    return payload


def _parse_members(part: bytes) -> Any:
    """Raises ValueError for a duplicate name: parsers differ in which value they use (RFC 8259 § 4)."""
    return json.loads(part.decode(), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


_json = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(HEADER_CACHE_SIZE)
def _header(key: Key, algorithm: str) -> bytes:
    """The first part of a token, as PyJWT encodes it."""
    return jwt.encode({}, key.private, algorithm, headers={"kid": key.kid}).partition(".")[0].encode()


@lru_cache(HEADER_CACHE_SIZE)
def _kid(header: str) -> str:
    """The `kid` of a token's first part. Raises TokenBackendError for unexpected members."""
    members = _parse_members(base64url_decode(header))
    if (
        not isinstance(members, dict)
        or not members.keys() <= HEADER_MEMBERS
        or not isinstance(members.get("kid"), str)
    ):
        raise TokenBackendError
    kid: str = members["kid"]
    return kid


class _Claims:
    """Typed properties of verified claims, and new tokens."""

    payload: dict[str, Any]
    token_type: str
    kid: str | None = None

    @classmethod
    def audience(cls) -> str:
        return str(settings.JWT_AUDIENCE)

    def get_token_backend(self) -> _Backend:
        return _Backend(self.audience())

    @property
    def creator_id(self) -> UUID:
        return UUID(self.payload["sub"])

    @property
    def session_id(self) -> UUID:
        return UUID(self.payload["sid"])

    @property
    def jti(self) -> UUID:
        return UUID(self.payload["jti"])

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.payload["exp"], UTC)

    @classmethod
    def issue(
        cls, *, creator_id: UUID, session_id: UUID, jti: UUID, issued_at: datetime, expires_at: datetime
    ) -> Self:
        token = cls.__new__(cls)  # simplejwt's __init__ would choose id and times
        token.payload = {
            "token_type": cls.token_type,
            "exp": int(expires_at.timestamp()),
            "iat": int(issued_at.timestamp()),
            "jti": str(jti),
            "iss": settings.JWT_ISSUER,
            "aud": cls.audience(),
            "sub": str(creator_id),
            "sid": str(session_id),
        }
        return token

    @classmethod
    def verified(cls, text: str) -> Self:
        """Parse and verify.

        Raises:
            InvalidTokenError: it was not issued by this service, is of another type, or has expired.

        """
        try:
            return cls(text)  # type: ignore[call-arg]
        except TokenError as error:
            raise InvalidTokenError from error

    def __str__(self) -> str:
        return self.get_token_backend().encode(self.payload, self.kid)


def _claims_well_formed(claims: Mapping[str, Any]) -> bool:
    """Whether ids are canonical UUIDs and times whole seconds, as in all issued tokens.

    Checked before simplejwt sees them, which raises OverflowError for an `exp` that is no date.
    """
    try:
        ids = all(str(UUID(claims[name])) == claims[name] for name in ("sub", "sid", "jti"))
    except (ValueError, AttributeError, TypeError):
        return False
    return ids and all(type(claims[name]) is int and 0 <= claims[name] < YEAR_9999 for name in ("iat", "exp"))


class AccessToken(_Claims, simplejwt.AccessToken):  # type: ignore[misc]
    pass


class RefreshToken(_Claims, simplejwt.RefreshToken):  # type: ignore[misc]
    pass


class EndUserToken(_Claims, simplejwt.Token):  # type: ignore[misc]
    """An end user's session. Type and audience differ, so no endpoint for creators accepts it.

    `sub` is the creator, as in every token; `sid` is the end user's session.
    """

    token_type = "session"  # noqa: S105
    lifetime = settings.END_USER_SESSION_LIFETIME

    @classmethod
    def audience(cls) -> str:
        return f"{settings.JWT_AUDIENCE}/end-users"


def access_token(
    *, creator_id: UUID, session_id: UUID, now: datetime, session_ends_at: datetime
) -> AccessToken:
    """A new access token; it never outlives its session."""
    expires_at = min(now + settings.JWT_ACCESS_TOKEN_LIFETIME, session_ends_at)
    return AccessToken.issue(
        creator_id=creator_id, session_id=session_id, jti=uuid7(), issued_at=now, expires_at=expires_at
    )
