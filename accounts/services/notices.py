"""Security notices to the owner: written where the thing wait_until, mailed in bundles by the worker."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.translation import get_language

from accounts import tasks
from accounts.models import Creator, SecurityNotice
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.requests.user_agents import describe_device


def add(kind: SecurityNotice.Kind, *, creator_id: UUID, client: ClientInfo, to: Sequence[str] = ()) -> None:
    """Store a notice to the account's address, or to those in `to`, and queue its mail.

    Called inside the creator's scope, in the transaction of what it reports. The address is fixed
    here: a change of address before the mail is sent must not redirect it.
    """
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
        tasks.send_security_notice.enqueue(str(notice.pk), _language())


def report_lock(*, email: str, creator_id: UUID, until: datetime, client: ClientInfo) -> None:
    """A count has just locked the address; called inside the creator's scope, NO_TENANT's for an unknown one.

    Whether there is somebody to tell is found out by the worker: the request does the same for all.
    """
    record(Event.ACCOUNT_LOCKED, client=client, creator_id=creator_id, email=email)
    facts = {
        "at": timezone.now().isoformat(),
        "until": until.isoformat(),
        "ip_address": client.ip_address,
        "device": describe_device(client),
    }
    tasks.keep_lock_notice.enqueue(email, facts, _language())


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE
