"""Django's hashers with their costs from the environment; a changed cost is an upgrade at sign-in."""

from django.conf import settings
from django.contrib.auth import hashers


class Argon2Hasher(hashers.Argon2PasswordHasher):
    time_cost = settings.ARGON2_TIME_COST
    memory_cost = settings.ARGON2_MEMORY_COST  # KiB
    parallelism = settings.ARGON2_PARALLELISM


class BCryptSHA256Hasher(hashers.BCryptSHA256PasswordHasher):
    rounds = settings.BCRYPT_ROUNDS


class BCryptHasher(hashers.BCryptPasswordHasher):
    rounds = settings.BCRYPT_ROUNDS
