"""Access transparency: an operator says why, the creator reads it, and who it was stays in the house.

What an operator does is two events of one transaction. The creator's has neither the operator's id nor
address or device; the one that has them belongs to the operator, and so lies behind another wall.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.exceptions import CreatorNotFoundError, JustificationRequiredError
from accounts.models import Creator
from audit.events import Event
from audit.models import AuditLog
from audit.partitions import lowest_id
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias

JUSTIFICATION_LIFETIME = timedelta(hours=1)  # for one operator and one creator


def record_justification(*, creator_id: UUID, operator_id: UUID, reason: str, client: ClientInfo) -> None:
    """Say why, which opens the creator's record for an hour; raises CreatorNotFoundError."""
    if not Creator.objects.tenants().filter(pk=creator_id).exists():
        raise CreatorNotFoundError
    with transaction.atomic(using=current_alias()):
        record_operator_action(
            Event.ACCOUNT_VIEWED, creator_id=creator_id, operator_id=operator_id, client=client, reason=reason
        )


def current_justification(*, creator_id: UUID, operator_id: UUID) -> str:
    """What the operator said within the last hour; raises JustificationRequiredError."""
    given = AuditLog.objects.filter(
        creator_id=operator_id,
        id__gte=lowest_id(timezone.now() - JUSTIFICATION_LIFETIME),
        type=Event.OPERATOR_ACTED,
        detail__act=Event.ACCOUNT_VIEWED,
        detail__creator=str(creator_id),
    )
    last = given.order_by("-id").first()
    if last is None:
        raise JustificationRequiredError
    return str(last.detail["reason"])


def record_operator_action(
    event: Event, *, creator_id: UUID, operator_id: UUID, client: ClientInfo, **detail: Any
) -> None:
    """Both events; called inside the transaction of what they tell of, and outside any scope."""
    told = record(event, client=ClientInfo(request_id=client.request_id), creator_id=creator_id, **detail)
    facts = {"act": event, "creator": str(creator_id), "event_id": str(told), **detail}
    record(Event.OPERATOR_ACTED, client=client, creator_id=operator_id, **facts)
