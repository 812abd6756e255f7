"""What operators see of one creator: no password, token or digest."""

from dataclasses import dataclass
from uuid import UUID

from accounts.exceptions import CreatorNotFoundError
from accounts.models import Creator, Session
from accounts.services import end_users, lockout, sessions
from audit import queries

from . import justification, support

MAX_ROWS = 25  # of sessions and of events, the newest


@dataclass(frozen=True)
class CreatorDetail:
    creator: Creator
    reason: str  # the operator's justification
    sessions: list[Session]
    failure_counts: list[lockout.FailureCount]
    end_user_sessions: int
    events: list[queries.Entry]
    actions: dict[str, support.SupportAction]  # those that apply


def get_detail(*, creator_id: UUID, operator_id: UUID) -> CreatorDetail:
    """Read the account for an operator who gave a justification.

    Raises:
        CreatorNotFoundError: no creator has this id; operators are not creators.
        JustificationRequiredError: the operator gave none within the last hour.

    """
    creator = Creator.objects.tenants().defer("password").filter(pk=creator_id).first()
    if creator is None:
        raise CreatorNotFoundError
    reason = justification.current_justification(creator_id=creator_id, operator_id=operator_id)
    return CreatorDetail(
        creator,
        reason,
        sessions=list(sessions.live_sessions(creator_id).order_by("-last_used_at")[:MAX_ROWS]),
        failure_counts=lockout.failure_counts(creator.email) if creator.holds_email else [],
        end_user_sessions=end_users.live_sessions(creator_id).count(),
        events=queries.entries(queries.events_of(creator_id).order_by("-id")[:MAX_ROWS]),
        actions={
            name: action for name, action in support.SUPPORT_ACTIONS.items() if action.applies_to(creator)
        },
    )
