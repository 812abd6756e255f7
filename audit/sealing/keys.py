"""The Ed25519 keys that sign seals. A key is identified by its public key, in hex."""

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.utils import timezone

from audit.encryption import fernet_for
from audit.exceptions import SealKeyLockedError
from audit.models import SealKey

PURPOSE = "audit.seal_keys"  # of the encryption key


def signing_key() -> Ed25519PrivateKey:
    """The newest key; the first call creates one.

    Raises:
        SealKeyLockedError: it was encrypted under another SECRET_KEY.

    """
    newest = SealKey.objects.order_by("-created_at").first()
    if newest is None:
        return create_key()
    private_key = decrypt_private_key(newest)
    if private_key is None:
        raise SealKeyLockedError
    return private_key


def create_key() -> Ed25519PrivateKey:
    """Store a new key, which signs from now on. Older keys still verify."""
    key = Ed25519PrivateKey.generate()
    encrypted = fernet_for(PURPOSE).encrypt(key.private_bytes_raw())
    SealKey.objects.create(public_key=public_key_of(key), private_key=encrypted, created_at=timezone.now())
    return key


def decrypt_private_key(row: SealKey) -> Ed25519PrivateKey | None:
    """None if SECRET_KEY does not decrypt it, or if it does not match the row's public key."""
    try:
        key = Ed25519PrivateKey.from_private_bytes(fernet_for(PURPOSE).decrypt(bytes(row.private_key)))
    except (InvalidToken, ValueError):
        return None
    return key if public_key_of(key) == row.public_key else None


def public_key_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def is_signature_valid(public_key: str, signature: bytes, statement: str) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(signature, statement.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
