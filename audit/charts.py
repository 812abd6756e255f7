"""Bars for inline SVG. Shapes only: words stand beside in HTML, where they keep their size on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HEIGHT, STEP = 100, 10  # of the drawing, which is stretched; a bar's place is STEP wide
GAP = 1.5


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True)
class Chart:
    bars: list[Bar]
    width: int
    most: int  # what a bar as high as the drawing stands for
    peak: datetime  # the hour with the most
    height: int = HEIGHT


def stacked(hours: Sequence[datetime], **kinds: Sequence[int]) -> Chart:
    """The counts of each kind upon each other, hour by hour."""
    totals = [sum(counts) for counts in zip(*kinds.values(), strict=True)]
    most = max(totals)
    bars = []
    for place, counts in enumerate(zip(*kinds.values(), strict=True)):
        top = float(HEIGHT)
        for kind, count in zip(kinds, counts, strict=True):
            height = HEIGHT * count / max(most, 1)
            top -= height
            if count:
                x = place * STEP + GAP / 2
                bars.append(Bar(x, round(top, 2), STEP - GAP, round(height, 2), kind))
    return Chart(bars, len(totals) * STEP, most, hours[totals.index(most)])
