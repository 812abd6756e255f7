"""`make prove`: the time of a call does not depend on the number of creators (1,000 to 1,000,000).

One database for each size exists at the same time, and the calls alternate between them, so that background load
affects all sizes. The short form leaves out the million and checks only the use of indexes.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import combinations
from typing import Any

from django.db import connections
from psycopg import sql

from config.tests.support.database import superuser_of
from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.plans import FrequentCalls, calls_without_index, fill
from config.tests.support.proofs import whole

SIZES = whole((1000, 100_000, 1_000_000), short=(1000, 100_000))
WARM_UP, ROUNDS, TOLERANCE = whole((20, 150, 1.20), short=(1, 3, math.inf))


@contextmanager
def copy_of(size: int) -> Iterator[str]:
    """A copy of the test database in its current state."""
    name = f"{DATABASE}_{size}"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with superuser_of("postgres") as superuser:
        superuser.execute(drop)
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        superuser.execute(copy.format(sql.Identifier(name), sql.Identifier(DATABASE)))
        server.ensure_database(name, ROLES)
        yield name
        superuser.execute(drop)


@contextmanager
def connected_to(database: str) -> Iterator[Executor]:
    """A thread whose connections lead to `database`."""

    def set_database() -> None:
        for connection in connections.all():
            connection.settings_dict = {**connection.settings_dict, "NAME": database}

    with ThreadPoolExecutor(1, initializer=set_database) as thread:
        yield thread
        thread.submit(connections.close_all).result()


def milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def medians(threads: Mapping[int, Executor]) -> dict[str, dict[int, float]]:
    """Call → size → median time."""

    def frequent_calls(size: int) -> Mapping[str, Callable[[], Any]]:
        return FrequentCalls("flat.example.com").calls(size // 2)

    calls = {size: thread.submit(frequent_calls, size).result() for size, thread in threads.items()}
    found: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in SIZES} for name in calls[SIZES[0]]
    }
    for _ in range(WARM_UP + ROUNDS):
        for name, taken in found.items():
            for size, thread in random.sample(list(threads.items()), len(threads)):
                taken[size].append(thread.submit(milliseconds, calls[size][name]).result())
    return {
        name: {size: statistics.median(times[WARM_UP:]) for size, times in taken.items()}
        for name, taken in found.items()
    }


def test_times_do_not_grow_with_the_number_of_creators() -> None:
    with ExitStack() as stack:
        threads: dict[int, Executor] = {}
        already = 0
        for size in SIZES:
            with superuser_of(DATABASE) as superuser:
                fill(superuser, size, already)
            connections.close_all()
            threads[size] = stack.enter_context(connected_to(stack.enter_context(copy_of(size))))
            already = size
        taken = medians(threads)
    for name, times in taken.items():
        print(f"{name}: " + ", ".join(f"{times[size]:.1f}" for size in SIZES) + " ms")
    slow = [
        (name, times[small], times[large])
        for name, times in taken.items()
        for small, large in combinations(SIZES, 2)
        if times[large] > TOLERANCE * times[small]
    ]
    with superuser_of(DATABASE) as superuser:
        assert calls_without_index(superuser, SIZES[-1] // 2) == {}
    assert slow == []
