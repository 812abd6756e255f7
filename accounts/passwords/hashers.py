"""Django's hashers with their costs from the settings; a hash of other costs is upgraded at sign-in."""

import re
import unicodedata

import argon2
import bcrypt
from django.conf import settings
from django.contrib.auth import hashers
from django.utils.crypto import constant_time_compare

from . import argon2id

BCRYPT_BYTES = 72  # bcrypt ignores the rest of a password


def normalize(password: str) -> str:
    """NFC, so that passwords which look the same are the same (NIST SP 800-63B-4)."""
    return unicodedata.normalize("NFC", password)


class Argon2Hasher(hashers.Argon2PasswordHasher):
    """Django's hasher, with the digest computed by `argon2id`."""

    time_cost = settings.ARGON2_TIME_COST
    memory_cost = settings.ARGON2_MEMORY_COST  # KiB
    parallelism = settings.ARGON2_PARALLELISM

    def encode(self, password: str, salt: str) -> str:
        params, salt_bytes = self.params(), salt.encode()
        costs = f"m={params.memory_cost},t={params.time_cost},p={params.parallelism}"
        digest = argon2id.digest(password.encode(), salt_bytes, params)
        return f"{self.algorithm}$argon2id$v={params.version}${costs}${argon2id.base64(salt_bytes)}${digest}"

    def verify(self, password: str, encoded: str) -> bool:
        decoded = self.decode(encoded)
        try:
            digest = argon2id.digest(password.encode(), decoded["salt"].encode("latin1"), decoded["params"])
        except argon2.exceptions.HashingError:
            return False
        return constant_time_compare(digest, decoded["hash"])


class BCryptSHA256Hasher(hashers.BCryptSHA256PasswordHasher):
    rounds = settings.BCRYPT_ROUNDS


class BCryptHasher(hashers.BCryptPasswordHasher):
    """Truncates the password: the imported hashes were made so, and bcrypt 5 raises for a longer one."""

    rounds = settings.BCRYPT_ROUNDS

    def encode(self, password: str, salt: bytes) -> str:  # type: ignore[override]  # Django passes bytes
        data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt)
        return f"{self.algorithm}${data.decode('ascii')}"


def weak_bcrypt_pattern() -> str:
    """A regular expression, for PostgreSQL too, of bcrypt hashes that cost less than BCRYPT_ROUNDS."""
    costs = "|".join(f"{cost:02}" for cost in range(settings.BCRYPT_ROUNDS))
    return rf"^bcrypt(_sha256)?\$\$2[abxy]\$({costs})\$"


def weak_bcrypt_cost(encoded: str) -> int | None:
    """The cost of such a hash; None for any other."""
    match = re.match(weak_bcrypt_pattern(), encoded)
    return int(match[2]) if match else None
