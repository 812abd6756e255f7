"""`make prove`: with 1,000, 100,000 and 1,000,000 creators every door takes as long, and finds its rows by an index.

The short form has no million, and asks for the index alone.
"""

import math
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import psycopg
import pytest

from config.tests.proofs import whole
from config.tests.test_plans import Doors, fill, findings

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
SIZES = whole((1000, 100_000, 1_000_000), short=(1000, 100_000))
WARM_UP, ROUNDS, TOLERANCE = whole((20, 60, 1.20), short=(1, 3, math.inf))


def milliseconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def medians(number: int) -> dict[str, float]:
    """Each door's median; taken in turn, so that a busy moment of the machine is everybody's."""
    calls = Doors(f"{number}.example.com").calls(number)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(WARM_UP + ROUNDS):
        for name, call in calls.items():
            found[name].append(milliseconds(call))
    return {name: statistics.median(times[WARM_UP:]) for name, times in found.items()}


def test_every_door_is_flat_and_uses_an_index(superuser: psycopg.Connection) -> None:
    taken: dict[int, dict[str, float]] = {}
    already = 0
    for size in SIZES:
        fill(superuser, size, already)
        already, taken[size] = size, medians(size // 2)
    for name in taken[SIZES[0]]:
        print(f"{name}: " + ", ".join(f"{taken[size][name]:.1f}" for size in SIZES) + " ms")
    slow = [
        (name, taken[small][name], taken[large][name])
        for name in taken[SIZES[0]]
        for small, large in combinations(SIZES, 2)
        if taken[large][name] > TOLERANCE * taken[small][name]
    ]
    assert findings(superuser, SIZES[-1] // 2) == {}
    assert slow == []
