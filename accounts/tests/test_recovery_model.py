"""Account theft in any order of steps: the owner of the original mailbox recovers the account alone."""

from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from accounts.tests.support.recovery_model import STEPS, STEPS_BEFORE_RESET, Case, assert_ada_recovers, case

__all__ = ["case"]

BETWEEN = st.lists(st.sampled_from(STEPS_BEFORE_RESET), max_size=3)

# attacks that earlier versions allowed or nearly allowed
THEFTS = {
    "undo against undo": [
        "Mallory moves to the first address",
        "Mallory moves to the second address",
        "Ada undoes the first change",
        "Ada resets the password",
        "Mallory undoes the last change",
    ],
    "a change that was pending during the recovery": [
        "Mallory requests a change to the first address",
        "Ada resets the password",
        "Mallory confirms a change",
    ],
    "a reset link from before the undo": [
        "Mallory moves to the first address",
        "Mallory requests a reset",
        "Ada undoes the first change",
        "Mallory uses a reset link",
    ],
    "an undo of the change back": [
        "Mallory moves to the first address",
        "Ada moves to the first address",
        "Ada resets the password",
    ],
    "recovery steps of the attacker": [
        "Mallory moves to the first address",
        "Mallory resets the password",
        "Mallory signs out everywhere",
        "Mallory changes the password",
        "Support deactivates and reactivates",
        "Mallory moves to the second address",
    ],
}


# the steps that must come before a step
PREREQUISITES = {
    "Ada confirms a change": ["Ada requests a change to the second address"],
    "Ada undoes the first change": ["Mallory moves to the first address"],
    "Ada undoes the last change": ["Mallory moves to the first address"],
    "Ada uses a reset link": ["Ada requests a reset"],
    "Mallory confirms a change": ["Mallory requests a change to the first address"],
    "Mallory undoes the first change": ["Mallory moves to the first address", "Mallory moves to the second address"],
    "Mallory undoes the last change": ["Mallory moves to the first address", "Mallory moves to the second address"],
    "Mallory uses a reset link": ["Mallory moves to the first address", "Mallory requests a reset"],
    "Mallory resets the password": ["Mallory moves to the first address"],
}  # fmt: skip


@pytest.mark.parametrize("between", STEPS_BEFORE_RESET)
def test_attacker_gains_nothing_between_undo_and_reset(case: Callable[[], Case], between: str) -> None:
    theft = ["Mallory moves to the first address"]
    assert_ada_recovers(case(), theft, undo_first=True, between=[between])


def test_requested_resets_do_not_end_the_link_of_the_undo(case: Callable[[], Case]) -> None:
    theft = ["Mallory moves to the first address"]
    assert_ada_recovers(case(), theft, undo_first=True, between=["Mallory resets the password"] * 3)


@pytest.mark.parametrize("undo_first", [False, True])
@pytest.mark.parametrize("theft", THEFTS)
def test_known_theft_fails(case: Callable[[], Case], theft: str, undo_first: bool) -> None:
    assert_ada_recovers(case(), THEFTS[theft], undo_first=undo_first)


@hypothesis.settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=8),
    undo_first=st.booleans(),
    between=BETWEEN,
)
def test_owner_recovers_after_any_steps(
    case: Callable[[], Case], names: list[str], undo_first: bool, between: list[str]
) -> None:
    assert_ada_recovers(case(), names, undo_first=undo_first, between=between)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_is_possible(case: Callable[[], Case], name: str) -> None:
    """A step that always fails would make the other tests meaningless."""
    theft = case()
    assert all(STEPS[required](theft) for required in PREREQUISITES.get(name, []))
    assert STEPS[name](theft)
