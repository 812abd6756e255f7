"""The one writer of the book."""

import hashlib
import json
import logging
import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from tenancy.context import call_as

from . import metrics
from .clients import Client
from .events import Event
from .models import PersonalData

logger = logging.getLogger("audit.events")
NO_TENANT = UUID(int=0)

_RECORD = """
SELECT record_event(%(id)s, %(creator_id)s, %(at)s, %(type)s, %(request_id)s, %(detail)s, %(digest)s,
                    %(salt)s, %(ip_address)s, %(user_agent)s, %(email)s)
"""


def record(
    event: Event, *, client: Client, creator_id: UUID | None = None, email: str = "", **detail: Any
) -> UUID:
    """Write one event and return its id.

    Inside a scope of the same tenant it is part of that transaction: recorded with what it
    describes, or not at all. Outside, it has a transaction of its own. `detail` must be JSON and
    hold neither secrets nor personal data; those of the client and `email` are kept apart, erasable.
    """
    event_id, tenant, salt = uuid7(), creator_id or NO_TENANT, os.urandom(16)
    personal: dict[str, Any] = {
        "ip_address": client.ip_address,
        "user_agent": client.user_agent,
        "email": email,
    }
    row = {
        "id": event_id,
        "creator_id": tenant,
        "at": datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC),
        "type": event.value,
        "request_id": client.request_id,
        "detail": json.dumps(detail),
        "digest": personal_digest(salt, **personal),
        "salt": salt,
        **personal,
    }
    call_as(tenant, _RECORD, row)
    metrics.EVENTS.labels(event.value).inc()
    logger.info(event.value, extra={"event_id": str(event_id), "creator_id": str(tenant)})
    return event_id


def erase_personal_data(creator_id: UUID) -> None:
    """Forget who and from where; the events and their digests stay. Inside the creator's scope."""
    PersonalData.objects.filter(creator_id=creator_id).delete()


def personal_digest(salt: bytes, *, ip_address: str | None, user_agent: str, email: str) -> bytes:
    """What the event keeps of the personal data beside it: enough to notice a change, no more."""
    text = json.dumps([ip_address, user_agent, email], ensure_ascii=False)
    return hashlib.sha256(salt + text.encode()).digest()
