"""Pytest plugin (`-p config.tests.support.pooled`): runs tests through PgBouncer, with counters in Redis."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .environment import server
from .external_servers import own_redis, pgbouncer

SKIPPED = {  # tests of the counter table in PostgreSQL
    "test_counting_restarts_if_the_counters_are_lost",
    "test_counters_reveal_neither_address_nor_network",
    "test_authenticated_get_needs_no_counter",
    "test_expired_counters_are_deleted",
    "test_each_request_is_counted_in_one_statement",
    "test_counter_expires_after_its_window",
    "test_limits_fail_closed",
}
_running = ExitStack()
# fifty threads need longer for the pool's connections than a server's threads
_urls = pgbouncer(server, dict(os.environ), query_wait_timeout="20")
os.environ.update(_running.enter_context(_urls))
os.environ["REDIS_URL"] = _running.enter_context(own_redis()).url


@pytest.fixture(autouse=True)
def clear_counters() -> Iterator[None]:
    """The cleanup of the database after each test does not include Redis."""
    from django.core.cache import cache  # needs the settings

    yield
    cache.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if getattr(item, "originalname", "") not in SKIPPED]


def pytest_unconfigure() -> None:
    _running.close()
