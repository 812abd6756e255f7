"""Bars for inline SVG. Shapes only: words stand beside in HTML, where they keep their size on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HEIGHT, STEP, GAP = 100, 10, 1.5  # of the drawing, which is stretched; of a bar's place; between two bars


@dataclass(frozen=True)
class Chart:
    shapes: dict[str, str]  # kind → its bars as one SVG path
    width: int
    most: int  # what a bar as high as the drawing stands for
    peak: datetime  # the hour with the most
    height: int = HEIGHT


def stacked(hours: Sequence[datetime], **kinds: Sequence[int]) -> Chart:
    """The counts of each kind upon those of the kinds before it, hour by hour."""
    totals = [sum(counts) for counts in zip(*kinds.values(), strict=True)]
    most = max(totals)
    tops, shapes = [float(HEIGHT)] * len(totals), {}
    for kind, counts in kinds.items():
        heights = [HEIGHT * count / max(most, 1) for count in counts]
        tops = [top - height for top, height in zip(tops, heights, strict=True)]
        bars = enumerate(zip(tops, heights, strict=True))
        shapes[kind] = "".join(_bar(place, top, height) for place, (top, height) in bars if height)
    return Chart(shapes, len(totals) * STEP, most, hours[totals.index(most)])


def _bar(place: int, top: float, height: float) -> str:
    width = STEP - GAP
    return f"M{place * STEP + GAP / 2:g} {top:.2f}h{width:g}v{height:.2f}h-{width:g}z"
