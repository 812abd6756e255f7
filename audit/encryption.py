"""Whatever lies in the database and must not be read there is locked under SECRET_KEY."""

import base64
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


def fernet_for(purpose: str) -> Fernet:
    """A lock of its own for each purpose: what one opens, the others don't."""
    return Fernet(base64.urlsafe_b64encode(_derived(purpose, settings.SECRET_KEY)))


def keyed_digest(purpose: str, text: str) -> str:
    """64 hexadecimal digits that tell the text to nobody who can guess it and has no SECRET_KEY."""
    return hmac.digest(_derived(purpose, settings.SECRET_KEY), text.encode(), "sha256").hex()


@lru_cache(maxsize=16)
def _derived(purpose: str, secret: str) -> bytes:
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode())
    return key.derive(secret.encode())
