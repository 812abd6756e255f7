"""Django's hashers with their costs from the environment; a changed cost is an upgrade at sign-in."""

import unicodedata

import argon2
import bcrypt
from django.conf import settings
from django.contrib.auth import hashers
from django.utils.crypto import constant_time_compare

from . import argon2id

BCRYPT_BYTES = 72  # of the password, which is all that bcrypt reads


def normalize(password: str) -> str:
    """NFC, and otherwise exactly as sent: equal to the eye is equal here (NIST SP 800-63B-4)."""
    return unicodedata.normalize("NFC", password)


class Argon2Hasher(hashers.Argon2PasswordHasher):
    """Django's, with the work done by `argon2id`, in memory that is kept, to the same bytes."""

    time_cost = settings.ARGON2_TIME_COST
    memory_cost = settings.ARGON2_MEMORY_COST  # KiB
    parallelism = settings.ARGON2_PARALLELISM

    def encode(self, password: str, salt: str) -> str:
        costs, salted = self.params(), salt.encode()
        own = f"m={costs.memory_cost},t={costs.time_cost},p={costs.parallelism}"
        digest = argon2id.digest(password.encode(), salted, costs)
        return f"{self.algorithm}$argon2id$v={costs.version}${own}${argon2id.base64(salted)}${digest}"

    def verify(self, password: str, encoded: str) -> bool:
        stored = self.decode(encoded)
        try:
            digest = argon2id.digest(password.encode(), stored["salt"].encode("latin1"), stored["params"])
        except argon2.exceptions.HashingError:
            return False
        return constant_time_compare(digest, stored["hash"])


class BCryptSHA256Hasher(hashers.BCryptSHA256PasswordHasher):
    rounds = settings.BCRYPT_ROUNDS


class BCryptHasher(hashers.BCryptPasswordHasher):
    """Imported hashes were made of the first 72 bytes; for a longer password bcrypt 5 would raise."""

    rounds = settings.BCRYPT_ROUNDS

    def encode(self, password: str, salt: bytes) -> str:  # type: ignore[override]  # Django passes bytes
        data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt)
        return f"{self.algorithm}${data.decode('ascii')}"
