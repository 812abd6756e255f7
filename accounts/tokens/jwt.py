"""Access and refresh tokens: simplejwt's, signed with the key ring and checked to the last claim.

RFC 7519 leaves most claims optional; here each is required, because each is used.
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

from .keys import Key, key_ring

YEAR_9999 = 253_370_764_800  # seconds; datetime knows no later one
MAX_LENGTH = 4096  # characters; ours are shorter than 1500
VERIFIED_CACHE_SIZE = 2048  # tokens of a process: some 4 MiB
HEADERS = 64  # all tokens of a key have the same
HEADER_MEMBERS = {"alg", "kid", "typ"}  # not jwk, jku, x5u, crit: nobody tells us which key to trust
COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "token_type"]


@dataclass(frozen=True)
class TokenPair:
    """What a client gets at sign-in and refresh; lifetimes in seconds from now."""

    access: str
    refresh: str
    expires_in: int
    refresh_expires_in: int


@dataclass(frozen=True)
class _Backend:
    """simplejwt's backend protocol over the key ring, for tokens of one audience."""

    audience: str

    def get_leeway(self) -> Any:
        return timedelta(0)

    def encode(self, payload: dict[str, Any], kid: str | None = None) -> str:
        ring = key_ring()
        key = (kid and ring.get(kid)) or ring.signing_key()
        if key.private is None:
            key = ring.signing_key()
        signed = b".".join((_header(key, settings.JWT_ALGORITHM), base64url_encode(_json(payload).encode())))
        signature = jwt.get_algorithm_by_name(settings.JWT_ALGORITHM).sign(signed, key.private)
        return b".".join((signed, base64url_encode(signature))).decode()

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        """Raises TokenBackendError for whatever is not exactly one of our tokens."""
        try:
            if len(token) > MAX_LENGTH or not COMPACT.fullmatch(token):
                raise TokenBackendError
            key = key_ring().get(_kid(token.partition(".")[0]))
            if key is None:
                raise TokenBackendError
            payload = _signed(token, key, self.audience, settings.JWT_ISSUER, settings.JWT_ALGORITHM)
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise TokenBackendError from error
        return dict(payload)


@lru_cache(VERIFIED_CACHE_SIZE)
def _signed(token: str, key: Key, audience: str, issuer: str, algorithm: str) -> dict[str, Any]:
    """The claims under a right signature, remembered: the same bytes under the same key stay right.

    What time can change is looked at by others each time: whether the key is still ours (`key_ring`),
    and whether the token has expired (simplejwt, which has its own look at `exp`).
    """
    options: Any = {"require": _REQUIRED, "strict_aud": True}
    payload = jwt.decode(
        token, key.public, algorithms=[algorithm], audience=audience, issuer=issuer, options=options
    )
    if not _claims_well_formed(payload):
        raise TokenBackendError
    _members(base64url_decode(token.split(".")[1]))
    return payload


def _members(part: bytes) -> Any:
    """Raises ValueError if one is there twice: readers differ in which one they take (RFC 8259 § 4)."""
    return json.loads(part.decode(), object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


_json = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(HEADERS)
def _header(key: Key, algorithm: str) -> bytes:
    """A token's first part, as PyJWT writes it."""
    return jwt.encode({}, key.private, algorithm, headers={"kid": key.kid}).partition(".")[0].encode()


@lru_cache(HEADERS)
def _kid(header: str) -> str:
    """The key's id from a token's first part that says nothing we don't expect."""
    members = _members(base64url_decode(header))
    if (
        not isinstance(members, dict)
        or not members.keys() <= HEADER_MEMBERS
        or not isinstance(members.get("kid"), str)
    ):
        raise TokenBackendError
    kid: str = members["kid"]
    return kid


class _Claims:
    """Typed reading of verified claims, and the construction of new ones."""

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
        token = cls.__new__(cls)  # simplejwt's own __init__ would choose id and times
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
        """The token behind `text`.

        Raises:
            InvalidTokenError: it is not ours, not of this type, expired, or has an odd claim.

        """
        try:
            return cls(text)  # type: ignore[call-arg]
        except TokenError as error:
            raise InvalidTokenError from error

    def __str__(self) -> str:
        return self.get_token_backend().encode(self.payload, self.kid)


def _claims_well_formed(claims: Mapping[str, Any]) -> bool:
    """Ids are canonical UUIDs and times whole seconds; nothing else is ever issued.

    Looked at before simplejwt, which raises OverflowError for an `exp` that is no date.
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
    """The session of a creator's visitor: another type and audience, good for nothing of the creator's.

    `sub`, as always, is the creator, for whom the visitor's requests count; `sid` is the visitor.
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
