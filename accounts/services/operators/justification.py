"""Access justification: an operator gives a reason before opening an account, and the creator can read it.

Each action of an operator is two events. The creator's event has the reason, but neither the operator's id
nor their address or device. The operator's event has both ids; RLS hides it from the creator.
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
    """Record the reason, which opens the account for an hour; raises CreatorNotFoundError."""
    if not Creator.objects.tenants().filter(pk=creator_id).exists():
        raise CreatorNotFoundError
    record_operator_action(
        Event.ACCOUNT_VIEWED, creator_id=creator_id, operator_id=operator_id, client=client, reason=reason
    )


def current_justification(*, creator_id: UUID, operator_id: UUID) -> str:
    """The newest reason of the last hour; raises JustificationRequiredError."""
    views = AuditLog.objects.filter(
        creator_id=operator_id,
        id__gte=lowest_id(timezone.now() - JUSTIFICATION_LIFETIME),
        type=Event.OPERATOR_ACTED,
        detail__act=Event.ACCOUNT_VIEWED,
        detail__creator=str(creator_id),
    )
    newest = views.order_by("-id").first()
    if newest is None:
        raise JustificationRequiredError
    return str(newest.detail["reason"])


def record_operator_action(
    event: Event, *, creator_id: UUID, operator_id: UUID, client: ClientInfo, **detail: Any
) -> None:
    """Record both events together, in the caller's transaction if there is one.

    Raises:
        TenantMismatchError: called inside a tenant's scope; the events belong to two tenants.

    """
    anonymous = ClientInfo(request_id=client.request_id)
    with transaction.atomic(using=current_alias()):
        event_id = record(event, client=anonymous, creator_id=creator_id, **detail)
        detail |= {"act": event, "creator": str(creator_id), "event_id": str(event_id)}
        record(Event.OPERATOR_ACTED, client=client, creator_id=operator_id, **detail)
