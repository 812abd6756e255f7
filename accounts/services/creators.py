"""A creator's record, as operators see it: no password, no token, no digest."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.exceptions import NoSuchCreatorError
from accounts.models import Creator, Session
from accounts.services import end_users, lockout, sessions, support, transparency
from audit.events import summary_of
from audit.models import PersonalData
from audit.views import events_of

SHOWN = 25  # sessions and events, the newest


@dataclass(frozen=True)
class Line:
    """An event; its address is None where there was none, or it is erased."""

    at: datetime
    type: str
    summary: str
    ip_address: str | None


@dataclass(frozen=True)
class CreatorRecord:
    creator: Creator
    reason: str  # why it is open
    sessions: list[Session]
    counts: list[lockout.Count]
    end_user_sessions: int
    events: list[Line]
    acts: set[str]  # of support.ACTS, those that would change something


def read(*, creator_id: UUID, operator_id: UUID) -> CreatorRecord:
    """All that an operator may see of the creator.

    Raises:
        NoSuchCreatorError: there is none of this id; staff are none.
        ReasonRequiredError: the operator has not said why within the hour.

    """
    creator = Creator.objects.tenants().defer("password").filter(pk=creator_id).first()
    if creator is None:
        raise NoSuchCreatorError
    reason = transparency.reason_given(creator_id=creator_id, operator_id=operator_id)
    return CreatorRecord(
        creator,
        reason,
        sessions=list(sessions.live_sessions(creator_id).order_by("-last_used_at")[:SHOWN]),
        counts=lockout.counts(creator.email),
        end_user_sessions=end_users.live_sessions(creator_id).count(),
        events=_newest_events(creator_id),
        acts={name for name, act in support.ACTS.items() if act.applies(creator)},
    )


def _newest_events(creator_id: UUID) -> list[Line]:
    events = list(events_of(creator_id).order_by("-id")[:SHOWN])
    personal = PersonalData.objects.in_bulk([event.id for event in events])
    return [
        Line(
            event.at,
            event.type,
            summary_of(event.type, event.detail),
            personal[event.id].ip_address if event.id in personal else None,
        )
        for event in events
    ]
