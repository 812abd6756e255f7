"""The keys that sign seals: Ed25519, of the book alone. A key is named by its public half, in hex."""

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.utils import timezone

from audit.encryption import fernet_for
from audit.exceptions import SealKeyLockedError
from audit.models import SealKey


def signing_key() -> Ed25519PrivateKey:
    """The newest key, or the first one, made now.

    Raises:
        SealKeyLockedError: it is locked under another SECRET_KEY.

    """
    newest = SealKey.objects.order_by("-created_at").first()
    if newest is None:
        return make_key()
    private = private_half(newest)
    if private is None:
        raise SealKeyLockedError
    return private


def make_key() -> Ed25519PrivateKey:
    """A new key; it signs from now on, and the old ones still verify."""
    private = Ed25519PrivateKey.generate()
    locked = _cipher().encrypt(private.private_bytes_raw())
    SealKey.objects.create(public_key=name_of(private), private_key=locked, created_at=timezone.now())
    return private


def private_half(row: SealKey) -> Ed25519PrivateKey | None:
    """None where it is not ours: it does not open under SECRET_KEY, or belongs to another public half."""
    try:
        private = Ed25519PrivateKey.from_private_bytes(_cipher().decrypt(bytes(row.private_key)))
    except (InvalidToken, ValueError):
        return None
    return private if name_of(private) == row.public_key else None


def name_of(private: Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes_raw().hex()


def verifies(name: str, signature: bytes, statement: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(name)).verify(signature, statement.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _cipher() -> Fernet:
    return fernet_for("audit.seal_keys")
