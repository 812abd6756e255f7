"""A password hasher for `counting_settings`."""

import os
import time

from accounts.passwords.hashers import Argon2Hasher


class CountingHasher(Argon2Hasher):
    """Appends a byte to HASH_MARKS for each password and sleeps HASH_SECONDS before it hashes."""

    def encode(self, password: str, salt: str) -> str:
        self._mark()
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        self._mark()
        return super().verify(password, encoded)

    def _mark(self) -> None:
        marks = os.open(os.environ["HASH_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(marks, b".")
        os.close(marks)
        time.sleep(float(os.environ["HASH_SECONDS"]))
