"""Bar charts for inline SVG. Their texts are HTML beside them, which does not shrink on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from audit.events import SUMMARIES, Event

from .overview import HourlyCounts, Overview

HEIGHT, STEP, GAP = 100, 10, 1.5  # of the drawing; from bar to bar; between two bars


@dataclass(frozen=True)
class Chart:
    shapes: dict[str, str]  # kind → its bars as one SVG path
    width: int
    maximum: int  # the count of a bar of full height
    peak: datetime  # the hour of the highest bar
    height: int = HEIGHT


def stacked(hours: Sequence[datetime], **kinds: Sequence[int]) -> Chart:
    """A bar per hour, with the counts of each kind stacked on those of the kinds before it."""
    totals = [sum(counts) for counts in zip(*kinds.values(), strict=True)]
    maximum = max(totals)
    tops, shapes = [float(HEIGHT)] * len(totals), {}
    for kind, counts in kinds.items():
        heights = [HEIGHT * count / max(maximum, 1) for count in counts]
        tops = [top - height for top, height in zip(tops, heights, strict=True)]
        bars = enumerate(zip(tops, heights, strict=True))
        shapes[kind] = "".join(_bar(index, top, height) for index, (top, height) in bars if height)
    return Chart(shapes, len(totals) * STEP, maximum, hours[totals.index(maximum)])


def _bar(index: int, top: float, height: float) -> str:
    width = STEP - GAP
    return f"M{index * STEP + GAP / 2:g} {top:.2f}h{width:g}v{height:.2f}h-{width:g}z"


@dataclass(frozen=True)
class EventPanel:
    """One type of event: its counts, its sentence and its chart."""

    hours: HourlyCounts
    summary: str
    chart: Chart


def sign_in_chart(overview: Overview, hours: int) -> Chart:
    succeeded, failed = overview.by_event[Event.LOGIN_SUCCEEDED], overview.by_event[Event.LOGIN_FAILED]
    counts = {"succeeded": succeeded.counts[-hours:], "failed": failed.counts[-hours:]}
    return stacked(overview.hours[-hours:], **counts)


def event_panels(overview: Overview) -> list[EventPanel]:
    panels = []
    for event, hourly in overview.by_event.items():
        kind = "failed" if event.value.endswith("failed") else "succeeded"
        chart = stacked(overview.hours, **{kind: hourly.counts})
        panels.append(EventPanel(hourly, SUMMARIES[event], chart))
    return panels
