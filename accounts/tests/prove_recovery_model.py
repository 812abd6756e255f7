"""`make prove`: account theft in all orders of three steps, and in 10,000 random orders of up to ten."""

from collections.abc import Callable
from itertools import islice, product

import hypothesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from accounts.tests.support.recovery_model import (
    STEPS,
    STEPS_BEFORE_RESET,
    Case,
    assert_ada_recovers,
    case,
)
from config.tests.support.proofs import whole

__all__ = ["case"]

BETWEEN = st.lists(st.sampled_from(STEPS_BEFORE_RESET), max_size=3)
# each is a complete attack or defence; one address per party is enough
COMPLETE_STEPS = [
    name
    for name in STEPS
    if not name.endswith(("second address", "signs in", "refreshes", "requests a reset"))
]


def test_owner_recovers_after_every_order_of_three_steps(case: Callable[[], Case]) -> None:
    for names in islice(product(COMPLETE_STEPS, repeat=whole(3, short=2)), 0, None, whole(1, short=5)):
        assert_ada_recovers(case(), names, undo_first=len(names[0]) % 2 == 0)


@hypothesis.settings(
    max_examples=whole(10_000, short=100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=10),
    undo_first=st.booleans(),
    between=BETWEEN,
)
def test_owner_recovers_after_random_steps(
    case: Callable[[], Case],
    names: list[str],
    undo_first: bool,
    between: list[str],
) -> None:
    assert_ada_recovers(case(), names, undo_first=undo_first, between=between)
