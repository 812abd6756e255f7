"""Writes events to the audit log; nothing else does."""

import hashlib
import ipaddress
import json
import logging
from typing import Any
from uuid import UUID

from audit.requests.client_info import ClientInfo

from . import sql
from .events import Event
from .models import PersonalData
from .requests import metrics

logger = logging.getLogger("audit.events")
NO_TENANT = UUID(int=0)


def record(
    event: Event, *, client: ClientInfo, creator_id: UUID | None = None, email: str = "", **detail: Any
) -> UUID:
    """Write one event and return its id.

    Inside a scope of the same tenant, the event is part of that transaction; outside, it has its own.
    `detail` must be JSON without secrets and personal data. The client's data and `email` are stored in a
    row of their own, so that they can be erased.
    """
    tenant = creator_id or NO_TENANT
    event_id = sql.record_event(
        tenant=tenant,
        event_type=event.value,
        request=client.request_id,
        details=json.dumps(detail),
        address=client.ip_address,
        agent=client.user_agent,
        mailbox=email,
    )
    metrics.EVENTS.labels(event.value).inc()
    logger.info(event.value, extra={"event_id": str(event_id), "creator_id": str(tenant)})
    return event_id


def erase_personal_data(creator_id: UUID) -> None:
    """Delete the personal data; events and digests stay. Only the operator role may do this."""
    PersonalData.objects.filter(creator_id=creator_id).delete()


def personal_digest(salt: bytes, *, ip_address: str | None, user_agent: str, email: str) -> bytes:
    """The digest that the event keeps. The SQL function `record_event` computes the same one."""
    text = json.dumps([ip_address, user_agent, email], ensure_ascii=False)
    return hashlib.sha256(salt + text.encode()).digest()


def is_digest_of(digest: bytes | None, salt: bytes, *, ip_address: str | None, **rest: str) -> bool:
    """Whether the digest is of these personal data.

    PostgreSQL writes `::1.2.3.4`, Python `::102:304`. Both are accepted: Python used to compute the digest.
    """
    spellings = {ip_address}
    if ip_address and ":" in ip_address:
        spellings.add(str(ipaddress.ip_address(ip_address)))
    return any(personal_digest(salt, ip_address=spelling, **rest) == digest for spelling in spellings)
