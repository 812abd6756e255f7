"""Security notices to the owner: stored in the transaction of their event, mailed by the worker."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from accounts import tasks
from accounts.mail.language import current_language
from accounts.models import Creator, SecurityNotice
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.requests.user_agents import describe_device
from tenancy.context import tenant_scope


def add(kind: SecurityNotice.Kind, *, creator_id: UUID, client: ClientInfo, to: Sequence[str] = ()) -> None:
    """Store a notice to the account's address, or to those in `to`, and queue its email.

    The address is stored with the notice: a change of address before delivery must not redirect it.
    """
    with tenant_scope(creator_id):
        addresses = to or Creator.objects.filter(pk=creator_id).values_list("email", flat=True)
        for email in addresses:
            notice = SecurityNotice.objects.create(
                creator_id=creator_id,
                kind=kind,
                email=email,
                at=timezone.now(),
                ip_address=client.ip_address,
                device=describe_device(client),
            )
            tasks.send_security_notice.enqueue(str(notice.pk), current_language())


def report_lockout(*, email: str, creator_id: UUID, until: datetime, client: ClientInfo) -> None:
    """Record that sign-in at the address was locked, and queue the notice. NO_TENANT for an unknown address.

    The worker finds out whether the address has an account, so that the request does the same work for all.
    """
    facts = {
        "at": timezone.now().isoformat(),
        "until": until.isoformat(),
        "ip_address": client.ip_address,
        "device": describe_device(client),
    }
    with tenant_scope(creator_id):
        record(Event.ACCOUNT_LOCKED, client=client, creator_id=creator_id, email=email)
        tasks.add_lockout_notice.enqueue(email, facts, current_language())
