"""How much a proof does: all that it promises, or in its short form as much as a few minutes allow.

`make prove SHORT=1`, a part of `.ci/run`, has fewer rounds of everything. Nor does it ask for speed: a machine that
builds does not measure.
"""

import os
from typing import TypeVar

Amount = TypeVar("Amount")
IS_SHORT = os.environ.get("PROVE_SHORT", "") not in {"", "0"}


def whole(amount: Amount, *, short: Amount) -> Amount:
    return short if IS_SHORT else amount
