"""Encryption of secrets at rest, under keys derived from SECRET_KEY."""

import base64
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


def fernet_for(purpose: str) -> Fernet:
    """Each purpose has a key of its own, which decrypts nothing of another purpose."""
    return Fernet(base64.urlsafe_b64encode(_derived(purpose, settings.SECRET_KEY)))


def keyed_digest(purpose: str, text: str) -> str:
    """HMAC-SHA-256, hex. Without SECRET_KEY a guess at the text can't be checked."""
    return hmac.digest(_derived(purpose, settings.SECRET_KEY), text.encode(), "sha256").hex()


@lru_cache(maxsize=16)
def _derived(purpose: str, secret: str) -> bytes:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode())
    return key.derive(secret.encode())
