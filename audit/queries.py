"""The book across all tenants.

Every query names the operator's alias: a streamed body outlives that of the request.
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
    """All events of a creator; called inside their scope."""
    return AuditLog.objects.filter(creator_id=creator_id)


def as_dicts(creator_id: UUID, events: Sequence[AuditLog]) -> list[dict[str, Any]]:
    """Events of one creator with the personal data beside them; called inside the creator's scope."""
    ids = [event.id for event in events]
    personal = {row.id: row for row in PersonalData.objects.filter(creator_id=creator_id, id__in=ids)}
    erased = PersonalData(ip_address=None, user_agent="", email="")
    return [_as_dict(event, personal.get(event.id, erased)) for event in events]


def _as_dict(event: AuditLog, personal: PersonalData) -> dict[str, Any]:
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
    """An event with the personal data beside it, None where they were erased."""

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
        """The personal data are those that the event was written with."""
        own = self.personal
        return own is not None and is_digest_of(
            bytes(self.event.personal_digest or b""),
            bytes(own.salt),
            ip_address=own.ip_address,
            user_agent=own.user_agent,
            email=own.email,
        )


@dataclass(frozen=True)
class Page:
    """Newest first; the links' ids are None where there is nothing on that side."""

    lines: list[Entry]
    newer: UUID | None
    older: UUID | None


def entries(events: Iterable[AuditLog]) -> list[Entry]:
    events = list(events)
    personal = PersonalData.objects.using(OPERATOR).in_bulk([event.pk for event in events])
    return [Entry(event, personal.get(event.pk)) for event in events]


def page(events: QuerySet[AuditLog], *, newer: UUID | None = None, older: UUID | None = None) -> Page:
    """The events next to an id, found by key: no count, no offset, right while rows come in."""
    if newer:
        found = list(events.filter(id__gt=newer).order_by("id")[: PAGE_SIZE + 1])
        shown = found[:PAGE_SIZE][::-1]
    else:
        found = list((events.filter(id__lt=older) if older else events).order_by("-id")[: PAGE_SIZE + 1])
        shown = found[:PAGE_SIZE]
    more = len(found) > PAGE_SIZE
    return Page(
        entries(shown),
        newer=shown[0].pk if shown and (more if newer else older) else None,
        older=shown[-1].pk if shown and (newer or more) else None,
    )


def batches(events: QuerySet[AuditLog]) -> Iterator[list[Entry]]:
    """All of them, oldest first, each batch a short statement of its own.

    A cursor kept open for as long as somebody downloads would hold back whoever drops an old partition,
    and behind that every sign-in that wants to write.
    """
    last: Any = UUID(int=0)
    while found := list(events.filter(id__gt=last).order_by("id")[:BATCH_SIZE]):
        yield entries(found)
        last = found[-1].pk
