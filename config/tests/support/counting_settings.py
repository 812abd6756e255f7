"""The service's settings with CountingHasher, which counts how many passwords were hashed or verified."""

from config.settings import *  # noqa: F403
from config.settings import PASSWORD_HASHERS as _HASHERS

PASSWORD_HASHERS = ["config.tests.support.counting_hasher.CountingHasher", *_HASHERS[1:]]
