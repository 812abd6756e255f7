"""The service's settings with a hasher that leaves marks: what proves how many passwords were looked at."""

from config.settings import *  # noqa: F403
from config.settings import PASSWORD_HASHERS as _OWN

PASSWORD_HASHERS = ["config.tests.support.counting_hasher.CountingHasher", *_OWN[1:]]
