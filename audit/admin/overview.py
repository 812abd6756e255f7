"""The numbers of the security overview: events by hour for seven days, and the top sources of failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections

from audit.events import Event
from audit.partitions import lowest_id
from audit.recorder import NO_TENANT
from audit.sealing.sealer import waiting_seconds
from tenancy.context import OPERATOR, using_alias

DAY, WEEK = 24, 7 * 24  # hours
TOP = 10
MAX_SEALING_DELAY = timedelta(minutes=10)
MAX_FAILURES = 50_000  # the newest are counted: during an attack the page must stay fast
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

# One probe of the index on (type, id) per hour and type; nothing is sorted or hashed.
_BY_HOUR = """
SELECT wanted.type, hour,
       (SELECT count(*) FROM audit_logs l WHERE l.type = wanted.type AND l.id >= low AND l.id < high)
FROM unnest(%(low)s::uuid[], %(high)s::uuid[]) WITH ORDINALITY AS hours(low, high, hour),
     unnest(%(types)s::text[]) AS wanted(type)
"""
_OLDEST = """
SELECT id FROM audit_logs WHERE type = %(type)s AND id >= %(low)s
ORDER BY id DESC OFFSET %(limit)s - 1 LIMIT 1
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
    """The events of one type per hour, oldest first. The last hour is the current one."""

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
    """An address with failed sign-ins, or an account."""

    name: str
    failures: int
    others: int  # accounts that the address tried, or addresses that tried the account
    creator_id: UUID | None


@dataclass(frozen=True)
class TopFailures:
    """`since` is a day ago, or the time of the oldest counted failure."""

    since: datetime
    addresses: list[FailureSource]
    accounts: list[FailureSource]


@dataclass(frozen=True)
class Overview:
    hours: list[datetime]  # their beginnings
    by_event: dict[Event, HourlyCounts]
    top_failures: TopFailures
    is_sealing_late: bool

    @property
    def since(self) -> datetime:
        return self.hours[-DAY]

    @property
    def rows(self) -> list[tuple[datetime, list[int]]]:
        """All counts, the newest hour first."""
        columns = [hourly.counts for hourly in self.by_event.values()]
        return [(hour, list(counts)) for hour, *counts in zip(self.hours, *columns, strict=True)][::-1]


def read_overview(now: datetime) -> Overview:
    """Four statements, as the operator."""
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    edges = [end - timedelta(hours=back) for back in range(WEEK, -1, -1)]
    by_event = _read_counts([lowest_id(edge) for edge in edges])
    with using_alias(OPERATOR):
        is_late = waiting_seconds() > MAX_SEALING_DELAY.total_seconds()
    return Overview(edges[:-1], by_event, _read_top_failures(since=edges[-1 - DAY]), is_late)


def _read_counts(edges: list[UUID]) -> dict[Event, HourlyCounts]:
    parameters = {"low": edges[:-1], "high": edges[1:], "types": [event.value for event in EVENTS]}
    counts = {event: [0] * WEEK for event in EVENTS}
    for kind, hour, count in _rows(_BY_HOUR, parameters):
        counts[Event(kind)][hour - 1] = count
    return {event: HourlyCounts(event, hourly) for event, hourly in counts.items()}


def _read_top_failures(since: datetime) -> TopFailures:
    type_, low = Event.LOGIN_FAILED.value, lowest_id(since)
    parameters = {"type": type_, "low": low, "limit": MAX_FAILURES, "top": TOP}
    for (oldest,) in _rows(_OLDEST, parameters):
        parameters["low"], since = oldest, datetime.fromtimestamp((oldest.int >> 80) / 1000, UTC)
    sources: dict[str, list[FailureSource]] = {"address": [], "account": []}
    for kind, name, failures, others, creator_id in _rows(_FAILURES, parameters):
        account = None if creator_id == NO_TENANT else creator_id
        sources[kind].append(FailureSource(name, failures, others, account))
    return TopFailures(since, sources["address"], sources["account"])


def _rows(sql: str, parameters: dict[str, Any]) -> list[Any]:
    with connections[OPERATOR].cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
