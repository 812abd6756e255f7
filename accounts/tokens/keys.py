"""The keys that sign and verify tokens: from the environment, or from the store in the database.

The ring is read anew at most once a second, so that a rotation reaches every process without a
restart; keys are kept as parsed objects, because parsing a private one costs 150 signatures.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from jwt.algorithms import get_default_algorithms

from accounts.exceptions import NoSigningKeyError
from accounts.models import SigningKey
from audit.encryption import fernet_for

from .weak_keys import weakness_of

CACHE_SECONDS = 1.0  # seconds
RSA_BITS = 3072
PURPOSE = "accounts.signing_keys"
CURVES: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Key:
    """One key pair, the same object for as long as it stays as it is; without `private`, it only verifies."""

    kid: str
    public: Any
    private: Any = None
    activates_at: datetime | None = None
    expires_at: datetime | None = None

    def jwk(self) -> dict[str, str]:
        """The public half as RFC 7517 wants it."""
        return _public_jwk(self.public) | {"kid": self.kid, "use": "sig", "alg": settings.JWT_ALGORITHM}


class KeyRing:
    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.kid: key for key in keys}

    def get(self, kid: str) -> Key | None:
        key = self._keys.get(kid)
        return None if key is None or _is_expired(key, timezone.now()) else key

    def signing_key(self) -> Key:
        """The newest key that is active; before the first one is, the oldest of all.

        Raises:
            NoSigningKeyError: there is none.

        """
        now = timezone.now()
        able = sorted(
            (key for key in self._keys.values() if key.private is not None and not _is_expired(key, now)),
            key=lambda key: (key.activates_at is not None, key.activates_at),
        )
        if not able:
            raise NoSigningKeyError
        active = [key for key in able if key.activates_at is None or key.activates_at <= now]
        return active[-1] if active else able[0]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The published set (RFC 7517 § 5): also a key that does not sign yet, or no longer."""
        now = timezone.now()
        return {"keys": [key.jwk() for key in self._keys.values() if not _is_expired(key, now)]}


def _is_expired(key: Key, now: datetime) -> bool:
    return key.expires_at is not None and key.expires_at <= now


class _KeyRingCache:
    """The process's ring and when it was read."""

    def __init__(self) -> None:
        self._ring: KeyRing | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()
        self._parsed: dict[str, Key] = {}

    def current(self) -> KeyRing:
        ring = self._ring
        if ring is None:
            with self._lock:
                return self._ring or self._read()
        # one thread reads anew; were PostgreSQL away, the others would wait in line, each for its own failure
        if not self._is_fresh() and self._lock.acquire(blocking=False):
            try:
                return self._read()
            finally:
                self._lock.release()
        return ring

    def _read(self) -> KeyRing:
        ring = KeyRing(_environment_keys() if settings.JWT_SECRET_KEY else self._stored_keys())
        self._ring, self._read_at = ring, time.monotonic()
        return ring

    def _is_fresh(self) -> bool:
        return bool(settings.JWT_SECRET_KEY) or time.monotonic() - self._read_at < CACHE_SECONDS

    def forget(self) -> None:
        self._ring, self._parsed = None, {}

    def _stored_keys(self) -> list[Key]:
        rows = SigningKey.objects.filter(algorithm=settings.JWT_ALGORITHM)
        return [self._stored_key(row) for row in rows]

    def _stored_key(self, row: SigningKey) -> Key:
        known = self._parsed.get(row.kid)
        if known is None:
            public = serialization.load_pem_public_key(row.public_key.encode())
            known = Key(row.kid, public, _decrypted(bytes(row.private_key)))
        if (known.activates_at, known.expires_at) != (row.activates_at, row.expires_at):
            known = replace(known, activates_at=row.activates_at, expires_at=row.expires_at)
        self._parsed[row.kid] = known
        return known


_rings = _KeyRingCache()


def key_ring() -> KeyRing:
    return _rings.current()


def invalidate_key_ring() -> None:
    """Read it anew at the next use."""
    _rings.forget()


def generate_private_key(algorithm: str) -> Any:
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def to_columns(private: Any) -> dict[str, Any]:
    """Columns of a SigningKey: `kid`, `private_key` (encrypted) and `public_key`."""
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key()
    public_pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "kid": _thumbprint(public),
        "private_key": fernet_for(PURPOSE).encrypt(pem),
        "public_key": public_pem.decode(),
    }


def _environment_keys() -> list[Key]:
    if sum(block[1].endswith("KEY") for block in _PEM.finditer(settings.JWT_SECRET_KEY)) > 1:
        message = "JWT_SECRET_KEY takes one PEM key; those that only verify are JWT_RETIRED_KEYS"
        raise ImproperlyConfigured(message)
    signing = _environment_key("JWT_SECRET_KEY", settings.JWT_SECRET_KEY)
    if signing.private is None:
        message = "JWT_SECRET_KEY takes a private key, and this is a public one"
        raise ImproperlyConfigured(message)
    if _PEM.sub("", settings.JWT_RETIRED_KEYS).strip():
        message = "JWT_RETIRED_KEYS takes PEM keys, one after the other"
        raise ImproperlyConfigured(message)
    retired = [_environment_key("JWT_RETIRED_KEYS", m[0]) for m in _PEM.finditer(settings.JWT_RETIRED_KEYS)]
    # a retired key may be known by its private half, and must not sign all the same
    keys = {key.kid: Key(key.kid, key.public) for key in retired}
    return list((keys | {signing.kid: signing}).values())


def _environment_key(name: str, pem: str) -> Key:
    try:
        if "PRIVATE" in pem:
            private = serialization.load_pem_private_key(pem.encode(), password=None)
            public: Any = private.public_key()
        else:
            private, public = None, serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{name} takes PEM keys: RSA of at least 2048 bits, EC or Ed25519"
        raise ImproperlyConfigured(message) from error
    _refuse_unfit(name, public)
    return Key(_thumbprint(public), public, private)


def _refuse_unfit(name: str, public: Any) -> None:
    algorithm = settings.JWT_ALGORITHM
    if algorithm == "EdDSA":
        fit = isinstance(public, ed25519.Ed25519PublicKey)
    elif algorithm in CURVES:
        fit = isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, CURVES[algorithm])
    else:
        fit = isinstance(public, rsa.RSAPublicKey) and public.key_size >= 2048  # noqa: PLR2004
    if not fit:
        message = f"{name} does not fit JWT_ALGORITHM={algorithm} (RSA of at least 2048 bits, EC or Ed25519)"
        raise ImproperlyConfigured(message)
    if isinstance(public, rsa.RSAPublicKey) and (weakness := weakness_of(public)):
        message = f"{name} takes another RSA key: this one has {weakness}"
        raise ImproperlyConfigured(message)


def _public_jwk(public: Any) -> dict[str, str]:
    algorithm: Any = get_default_algorithms()[settings.JWT_ALGORITHM]
    jwk = algorithm.to_jwk(public, as_dict=True)
    return {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}


def _thumbprint(public: Any) -> str:
    """RFC 7638: the same key has the same `kid` wherever it comes from."""
    text = json.dumps(_public_jwk(public), sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _decrypted(stored: bytes) -> Any:
    """The private key, or None where SECRET_KEY is another than the one that locked it."""
    try:
        pem = fernet_for(PURPOSE).decrypt(stored)
    except InvalidToken:
        return None
    return serialization.load_pem_private_key(pem, password=None)
