"""A creator's record, as operators see it: no password, no token, no digest."""

from dataclasses import dataclass
from uuid import UUID

from accounts.exceptions import CreatorNotFoundError
from accounts.models import Creator, Session
from accounts.services import end_users, lockout, sessions
from audit import queries
from audit.queries import events_of

from . import justification, support

SHOWN = 25  # sessions and events, the newest


@dataclass(frozen=True)
class CreatorRecord:
    creator: Creator
    reason: str  # why it is open
    sessions: list[Session]
    counts: list[lockout.FailureCount]
    end_user_sessions: int
    events: list[queries.Entry]
    acts: set[str]  # of support.SUPPORT_ACTIONS, those that would change something


def read(*, creator_id: UUID, operator_id: UUID) -> CreatorRecord:
    """All that an operator may see of the creator.

    Raises:
        CreatorNotFoundError: there is none of this id; staff are none.
        JustificationRequiredError: the operator has not said why within the hour.

    """
    creator = Creator.objects.tenants().defer("password").filter(pk=creator_id).first()
    if creator is None:
        raise CreatorNotFoundError
    reason = justification.current_justification(creator_id=creator_id, operator_id=operator_id)
    return CreatorRecord(
        creator,
        reason,
        sessions=list(sessions.live_sessions(creator_id).order_by("-last_used_at")[:SHOWN]),
        counts=lockout.failure_counts(creator.email) if creator.holds_email else [],
        end_user_sessions=end_users.live_sessions(creator_id).count(),
        events=queries.entries(events_of(creator_id).order_by("-id")[:SHOWN]),
        acts={name for name, act in support.SUPPORT_ACTIONS.items() if act.applies(creator)},
    )
