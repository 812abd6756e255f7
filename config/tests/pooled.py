"""`pytest -p config.tests.pooled`: any test, with PgBouncer before its database and its counters in Redis."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from config.tests.plugin import server
from config.tests.services import own_redis, pgbouncer

_running = ExitStack()
os.environ.update(_running.enter_context(pgbouncer(server, dict(os.environ))))
os.environ["REDIS_URL"] = _running.enter_context(own_redis()).url


@pytest.fixture(autouse=True)
def counts_begin_anew() -> Iterator[None]:
    """The tables are wiped after each test; Redis is not among them."""
    from django.core.cache import cache  # needs the settings

    yield
    cache.clear()


def pytest_unconfigure() -> None:
    _running.close()
