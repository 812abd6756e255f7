"""Chooses the length of a `prove_*.py` test: full, or short for `make prove SHORT=1`.

The short form does fewer rounds and does not check speed, because a build machine does not measure well.
"""

import os
from typing import TypeVar

Amount = TypeVar("Amount")
IS_SHORT = os.environ.get("PROVE_SHORT", "") not in {"", "0"}


def whole(amount: Amount, *, short: Amount) -> Amount:
    """`amount` for the whole proof, `short` for the short form."""
    return short if IS_SHORT else amount
