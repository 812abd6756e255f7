"""What a person on duty looks at: the last seven days by hour, and who fails most."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections

from audit.events import SUMMARIES, Event
from audit.partitions import lowest_id
from audit.recorder import NO_TENANT
from audit.sealing.sealer import waiting_seconds
from tenancy.context import OPERATOR, using_alias

from .charts import Chart, stacked

DAY, WEEK = 24, 7 * 24  # hours
TOP = 10
SEALED_WITHIN = timedelta(minutes=10)
FAILURES_LOOKED_AT = 50_000  # the newest: an attack must not make the page slow that shows it
EVENTS = (
    Event.LOGIN_SUCCEEDED,
    Event.LOGIN_FAILED,
    Event.ACCOUNT_LOCKED,
    Event.TOKEN_REUSED,
    Event.PASSWORD_CHECK_FAILED,
    Event.PASSWORD_RESET_REQUESTED,
    Event.PASSWORD_RESET,
    Event.BREACH_CHECK_FAILED,
    Event.REGISTRATION_REQUESTED,
)

# Sequential probes of the index on (type, id), one for each hour and type; nothing is sorted or hashed.
_BY_HOUR = """
SELECT asked.type, hour,
       (SELECT count(*) FROM audit_logs l WHERE l.type = asked.type AND l.id >= low AND l.id < high)
FROM unnest(%(low)s::uuid[], %(high)s::uuid[]) WITH ORDINALITY AS hours(low, high, hour),
     unnest(%(types)s::text[]) AS asked(type)
"""
_OLDEST = """
SELECT id FROM audit_logs WHERE type = %(type)s AND id >= %(low)s ORDER BY id DESC OFFSET %(most)s - 1 LIMIT 1
"""
_FAILURES = """
WITH failures AS MATERIALIZED (
    SELECT host(p.ip_address) AS address, NULLIF(p.email, '') AS email, p.creator_id
    FROM audit_logs l JOIN audit_personal_data p USING (id)
    WHERE l.type = %(type)s AND l.id >= %(low)s AND p.id >= %(low)s
)
(SELECT 'address', address, count(*), count(DISTINCT email), NULL::uuid FROM failures
 WHERE address IS NOT NULL GROUP BY address ORDER BY 3 DESC, 2 LIMIT %(top)s)
UNION ALL
(SELECT 'account', email, count(*), count(DISTINCT address), min(creator_id::text)::uuid FROM failures
 WHERE email IS NOT NULL GROUP BY email ORDER BY 3 DESC, 2 LIMIT %(top)s)
"""


@dataclass(frozen=True)
class HourlyCounts:
    """The events of one type, hour by hour, the oldest first; the last hour is not over yet."""

    event: Event
    counts: Sequence[int]

    @property
    def today(self) -> int:
        return sum(self.counts[-DAY:])

    @property
    def day_before(self) -> int:
        return sum(self.counts[-2 * DAY : -DAY])


@dataclass(frozen=True)
class FailureSource:
    """Failed sign-ins from an address, and to how many accounts; or to an account, and from how many."""

    name: str
    failures: int
    others: int
    creator_id: UUID | None


@dataclass(frozen=True)
class TopFailures:
    """Who fails most, since a day ago or since the oldest failure that is looked at."""

    since: datetime
    addresses: list[FailureSource]
    accounts: list[FailureSource]


@dataclass(frozen=True)
class EventPanel:
    """What one box of the page tells: a type of event, the owner's sentence for it, its week."""

    hours: HourlyCounts
    summary: str
    chart: Chart


@dataclass(frozen=True)
class Overview:
    hours: list[datetime]  # beginnings
    by_event: dict[Event, HourlyCounts]
    failing: TopFailures
    is_sealing_late: bool

    @property
    def since(self) -> datetime:
        return self.hours[-DAY]

    @property
    def day(self) -> Chart:
        return self._sign_ins(DAY)

    @property
    def week(self) -> Chart:
        return self._sign_ins(WEEK)

    @property
    def panels(self) -> list[EventPanel]:
        kinds = {event: "failed" if event.value.endswith("failed") else "entered" for event in self.by_event}
        charts = {
            event: stacked(self.hours, **{kinds[event]: own.counts}) for event, own in self.by_event.items()
        }
        return [EventPanel(own, SUMMARIES[event], charts[event]) for event, own in self.by_event.items()]

    @property
    def rows(self) -> list[tuple[datetime, list[int]]]:
        """All numbers, the newest hour first."""
        columns = [own.counts for own in self.by_event.values()]
        return [(hour, list(counts)) for hour, *counts in zip(self.hours, *columns, strict=True)][::-1]

    def _sign_ins(self, last: int) -> Chart:
        entered, failed = self.by_event[Event.LOGIN_SUCCEEDED], self.by_event[Event.LOGIN_FAILED]
        return stacked(self.hours[-last:], entered=entered.counts[-last:], failed=failed.counts[-last:])


def overview(now: datetime) -> Overview:
    """Four statements as the operator."""
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    edges = [end - timedelta(hours=back) for back in range(WEEK, -1, -1)]
    by_event = _by_event([lowest_id(edge) for edge in edges])
    with using_alias(OPERATOR):
        is_late = waiting_seconds() > SEALED_WITHIN.total_seconds()
    return Overview(edges[:-1], by_event, _failing(since=edges[-1 - DAY]), is_late)


def _by_event(edges: list[UUID]) -> dict[Event, HourlyCounts]:
    facts = {"low": edges[:-1], "high": edges[1:], "types": [event.value for event in EVENTS]}
    counts = {event: [0] * WEEK for event in EVENTS}
    for kind, hour, count in _rows(_BY_HOUR, facts):
        counts[Event(kind)][hour - 1] = count
    return {event: HourlyCounts(event, found) for event, found in counts.items()}


def _failing(since: datetime) -> TopFailures:
    facts = {
        "type": Event.LOGIN_FAILED.value,
        "low": lowest_id(since),
        "most": FAILURES_LOOKED_AT,
        "top": TOP,
    }
    for (oldest,) in _rows(_OLDEST, facts):
        facts["low"], since = oldest, datetime.fromtimestamp((oldest.int >> 80) / 1000, UTC)
    found: dict[str, list[FailureSource]] = {"address": [], "account": []}
    for kind, name, failures, others, owner in _rows(_FAILURES, facts):
        found[kind].append(FailureSource(name, failures, others, None if owner == NO_TENANT else owner))
    return TopFailures(since, found["address"], found["account"])


def _rows(sql: str, facts: dict[str, Any]) -> list[Any]:
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute(sql, facts)
        return list(cursor.fetchall())
