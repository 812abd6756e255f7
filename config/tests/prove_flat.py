"""`make prove`: with 1,000, 100,000 and 1,000,000 creators every door takes as long, and finds its rows by an index.

The databases stand side by side and are asked in turn, so that a busy moment of the machine is everybody's. The
short form has no million, and asks for the index alone.
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
from config.tests.support.plans import Doors, fill, findings
from config.tests.support.proofs import whole

SIZES = whole((1000, 100_000, 1_000_000), short=(1000, 100_000))
WARM_UP, ROUNDS, TOLERANCE = whole((20, 150, 1.20), short=(1, 3, math.inf))


@contextmanager
def copy_of(size: int) -> Iterator[str]:
    """The test database as it is now, under another name."""
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
def dwelling_in(database: str) -> Iterator[Executor]:
    """A thread whose connections lead there."""

    def move_in() -> None:
        for connection in connections.all():
            connection.settings_dict = {**connection.settings_dict, "NAME": database}

    with ThreadPoolExecutor(1, initializer=move_in) as thread:
        yield thread
        thread.submit(connections.close_all).result()


def milliseconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def medians(threads: Mapping[int, Executor]) -> dict[str, dict[int, float]]:
    """Each door's median by size."""

    def doors(size: int) -> Mapping[str, Callable[[], Any]]:
        return Doors("flat.example.com").calls(size // 2)

    calls = {size: thread.submit(doors, size).result() for size, thread in threads.items()}
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


def test_every_door_is_flat_and_uses_an_index() -> None:
    with ExitStack() as stack:
        threads: dict[int, Executor] = {}
        already = 0
        for size in SIZES:
            with superuser_of(DATABASE) as superuser:
                fill(superuser, size, already)
            connections.close_all()
            threads[size] = stack.enter_context(dwelling_in(stack.enter_context(copy_of(size))))
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
        assert findings(superuser, SIZES[-1] // 2) == {}
    assert slow == []
