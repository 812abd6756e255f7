"""`pytest -p config.tests.support.pooled`: any test, with PgBouncer before its database and its counters in Redis."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .environment import server
from .external_servers import own_redis, pgbouncer

ABOUT_THE_TABLE = {  # in which counters are without Redis
    "test_counting_restarts_if_the_counters_are_lost",
    "test_counters_reveal_neither_address_nor_network",
    "test_authenticated_get_needs_no_counter",
    "test_expired_counters_are_deleted",
    "test_each_request_is_counted_in_one_statement",
    "test_counter_expires_after_its_window",
    "test_limits_fail_closed",
}
_running = ExitStack()
# fifty threads at once are more than a server has
_behind = pgbouncer(server, dict(os.environ), query_wait_timeout="20")
os.environ.update(_running.enter_context(_behind))
os.environ["REDIS_URL"] = _running.enter_context(own_redis()).url


@pytest.fixture(autouse=True)
def counts_begin_anew() -> Iterator[None]:
    """The tables are wiped after each test; Redis is not among them."""
    from django.core.cache import cache  # needs the settings

    yield
    cache.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if getattr(item, "originalname", "") not in ABOUT_THE_TABLE]


def pytest_unconfigure() -> None:
    _running.close()
