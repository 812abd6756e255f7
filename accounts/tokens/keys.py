"""Keys that sign and verify tokens, and the set of those in use."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from jwt.algorithms import get_default_algorithms

from accounts.exceptions import NoSigningKeyError

THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}


@dataclass(frozen=True, eq=False)
class Key:
    """A key pair; without `private` it only verifies. Compared by identity: `jwt` caches results by key."""

    kid: str
    public: Any
    private: Any = None
    activates_at: datetime | None = None
    expires_at: datetime | None = None

    def jwk(self) -> dict[str, str]:
        """The public key as RFC 7517 defines it."""
        return _public_jwk(self.public) | {"kid": self.kid, "use": "sig", "alg": settings.JWT_ALGORITHM}

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class KeyRing:
    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.kid: key for key in keys}

    def get(self, kid: str) -> Key | None:
        key = self._keys.get(kid)
        return None if key is None or key.is_expired(timezone.now()) else key

    def signing_key(self) -> Key:
        """The newest active key; if none is active yet, the oldest.

        Raises:
            NoSigningKeyError: no key has a private half.

        """
        now = timezone.now()
        signing = sorted(
            (key for key in self._keys.values() if key.private is not None and not key.is_expired(now)),
            key=lambda key: (key.activates_at is not None, key.activates_at),
        )
        if not signing:
            raise NoSigningKeyError
        active = [key for key in signing if key.activates_at is None or key.activates_at <= now]
        return active[-1] if active else signing[0]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The published set (RFC 7517 § 5), including keys that don't sign yet or no longer do."""
        now = timezone.now()
        return {"keys": [key.jwk() for key in self._keys.values() if not key.is_expired(now)]}


def thumbprint(public: Any) -> str:
    """The `kid`: RFC 7638's thumbprint, so that a key has the same one in each source."""
    text = json.dumps(_public_jwk(public), sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _public_jwk(public: Any) -> dict[str, str]:
    algorithm: Any = get_default_algorithms()[settings.JWT_ALGORITHM]
    jwk = algorithm.to_jwk(public, as_dict=True)
    return {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}
