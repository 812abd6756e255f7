"""Private and public keys as PEM: generated, stored encrypted, or read from the settings."""

import re
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.encryption import fernet_for

from .keys import Key, thumbprint
from .weak_keys import weakness_of

RSA_BITS = 3072
PURPOSE = "accounts.signing_keys"  # of the encryption key
CURVES: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


def generate_private_key(algorithm: str) -> Any:
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def to_columns(private: Any) -> dict[str, Any]:
    """The columns of a SigningKey that depend on the key; the private half is encrypted."""
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key()
    public_pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "kid": thumbprint(public),
        "private_key": fernet_for(PURPOSE).encrypt(pem),
        "public_key": public_pem.decode(),
    }


def decrypt_private_key(encrypted: bytes) -> Any:
    """None if it was encrypted under another SECRET_KEY."""
    try:
        pem = fernet_for(PURPOSE).decrypt(encrypted)
    except InvalidToken:
        return None
    return serialization.load_pem_private_key(pem, password=None)


def environment_keys() -> list[Key]:
    """The keys of JWT_SECRET_KEY and JWT_RETIRED_KEYS. Raises ImproperlyConfigured: one is unfit."""
    if sum(block[1].endswith("KEY") for block in _PEM.finditer(settings.JWT_SECRET_KEY)) > 1:
        message = "JWT_SECRET_KEY takes one PEM key; those that only verify are JWT_RETIRED_KEYS"
        raise ImproperlyConfigured(message)
    signing = _environment_key("JWT_SECRET_KEY", settings.JWT_SECRET_KEY)
    if signing.private is None:
        message = "JWT_SECRET_KEY takes a private key, not a public one"
        raise ImproperlyConfigured(message)
    if _PEM.sub("", settings.JWT_RETIRED_KEYS).strip():
        message = "JWT_RETIRED_KEYS takes PEM keys, one after the other"
        raise ImproperlyConfigured(message)
    retired = [_environment_key("JWT_RETIRED_KEYS", m[0]) for m in _PEM.finditer(settings.JWT_RETIRED_KEYS)]
    # a retired key never signs, even if the setting has its private half
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
    return Key(thumbprint(public), public, private)


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
