"""Queries of the audit log, for creators and for operators.

Those for operators name the database alias: an export is streamed after the request's own alias is unset.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from audit.requests.client_info import ClientInfo
from audit.requests.user_agents import describe_device
from tenancy.context import OPERATOR

from .events import summary_of
from .models import AuditLog, PersonalData
from .recorder import NO_TENANT, is_digest_of

PAGE_SIZE, BATCH_SIZE = 50, 2000


def events_of(creator_id: UUID) -> QuerySet[AuditLog]:
    """All events of a creator; call it inside the tenant scope."""
    return AuditLog.objects.filter(creator_id=creator_id)


def as_dicts(creator_id: UUID, events: Sequence[AuditLog]) -> list[dict[str, Any]]:
    """Events of one creator with their personal data; call it inside the tenant scope."""
    ids = [event.id for event in events]
    personal = {row.id: row for row in PersonalData.objects.filter(creator_id=creator_id, id__in=ids)}
    return [as_dict(event, personal.get(event.id)) for event in events]


def as_dict(event: AuditLog, personal: PersonalData | None) -> dict[str, Any]:
    personal = personal or PersonalData(ip_address=None, user_agent="", email="")
    return {
        "id": event.id,
        "at": event.at,
        "type": event.type,
        "summary": summary_of(event.type, event.detail),
        "ip_address": personal.ip_address,
        "user_agent": personal.user_agent,
        "request_id": event.request_id,
        "detail": event.detail,
        "email": personal.email,
    }


@dataclass(frozen=True)
class Entry:
    """An event with its personal data, None if they were erased."""

    event: AuditLog
    personal: PersonalData | None

    @property
    def summary(self) -> str:
        return summary_of(self.event.type, self.event.detail)

    @property
    def creator_id(self) -> UUID | None:
        return None if self.event.creator_id == NO_TENANT else self.event.creator_id

    @property
    def device(self) -> str:
        return describe_device(ClientInfo(user_agent=self.personal.user_agent)) if self.personal else ""

    @property
    def is_intact(self) -> bool:
        """Whether the personal data match the event's digest."""
        personal = self.personal
        return personal is not None and is_digest_of(
            bytes(self.event.personal_digest or b""),
            bytes(personal.salt),
            ip_address=personal.ip_address,
            user_agent=personal.user_agent,
            email=personal.email,
        )


@dataclass(frozen=True)
class EntryPage:
    """Newest first. `newer` and `older` are the ids to continue from, None at either end."""

    entries: list[Entry]
    newer: UUID | None
    older: UUID | None


def entries(events: Iterable[AuditLog]) -> list[Entry]:
    events = list(events)
    personal = PersonalData.objects.using(OPERATOR).in_bulk([event.pk for event in events])
    return [Entry(event, personal.get(event.pk)) for event in events]


def entry_page(
    events: QuerySet[AuditLog], *, newer: UUID | None = None, older: UUID | None = None
) -> EntryPage:
    """The events directly before or after an id. Keyset pagination: no COUNT, no OFFSET."""
    if newer:
        rows = list(events.filter(id__gt=newer).order_by("id")[: PAGE_SIZE + 1])
    else:
        rows = list((events.filter(id__lt=older) if older else events).order_by("-id")[: PAGE_SIZE + 1])
    shown = rows[:PAGE_SIZE][::-1] if newer else rows[:PAGE_SIZE]
    has_more = len(rows) > PAGE_SIZE
    return EntryPage(
        entries(shown),
        newer=shown[0].pk if shown and (has_more if newer else older) else None,
        older=shown[-1].pk if shown and (newer or has_more) else None,
    )


def entry_batches(events: QuerySet[AuditLog]) -> Iterator[list[Entry]]:
    """All entries, oldest first, one short query per batch.

    A cursor that stays open during a download would block the drop of a partition, and the waiting drop
    would block every INSERT.
    """
    last: Any = UUID(int=0)
    while rows := list(events.filter(id__gt=last).order_by("id")[:BATCH_SIZE]):
        yield entries(rows)
        last = rows[-1].pk
