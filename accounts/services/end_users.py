"""Sessions of a creator's end users, who are anonymous: a row and a token, no password or name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.exceptions import CreatorNotFoundError, InvalidTokenError
from accounts.models import Creator, EndUserSession
from accounts.tokens.jwt import EndUserToken
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope


@dataclass(frozen=True)
class OpenedSession:
    """`session` is the end user's token; the creator sees `session_id`."""

    session: str
    session_id: UUID
    expires_at: datetime


def stored_bytes(metadata: dict[str, Any]) -> int:
    """The length of the metadata as PostgreSQL's JSON text, or a little more.

    PostgreSQL writes numbers without an exponent: the five characters of 1e308 become 309 digits.
    """
    text = json.dumps(metadata, ensure_ascii=False)
    return len(text.encode()) + sum(len(f"{Decimal(repr(x)):f}") - len(repr(x)) for x in _floats(metadata))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _floats(child)


def open_session(*, creator: UUID, metadata: dict[str, Any]) -> OpenedSession:
    """Start a session with the creator.

    Raises:
        CreatorNotFoundError: the creator is unknown, not verified or deactivated.

    """
    now = timezone.now().replace(microsecond=0)
    row = EndUserSession(
        id=uuid7(),
        creator_id=creator,
        created_at=now,
        expires_at=now + settings.END_USER_SESSION_LIFETIME,
        metadata=metadata,
    )
    with tenant_scope(creator):
        exists = Creator.objects.filter(pk=creator, is_active=True, holds_email=True).exists()
        if exists:
            row.save(force_insert=True)
    if not exists:
        raise CreatorNotFoundError
    token = EndUserToken.issue(
        creator_id=creator, session_id=row.pk, jti=row.pk, issued_at=now, expires_at=row.expires_at
    )
    return OpenedSession(str(token), row.pk, row.expires_at)


def current_session(token: EndUserToken) -> EndUserSession:
    """The session of a verified token.

    Raises:
        InvalidTokenError: it ended or expired, or its creator was deleted or deactivated.

    """
    with tenant_scope(token.creator_id):
        session = live_sessions(token.creator_id).filter(pk=token.session_id, creator__is_active=True).first()
    if session is None:
        raise InvalidTokenError
    return session


def live_sessions(creator_id: UUID) -> QuerySet[EndUserSession]:
    """Called inside the creator's scope."""
    return EndUserSession.objects.filter(creator_id=creator_id, expires_at__gt=timezone.now())


def end_session(*, creator_id: UUID, session_id: UUID, client: ClientInfo) -> bool:
    """False if there is no such live session."""
    with tenant_scope(creator_id):
        session = live_sessions(creator_id).filter(pk=session_id)
        ended = bool(session._raw_delete(session.db))
        if ended:
            record(
                Event.END_USER_SESSION_ENDED, client=client, creator_id=creator_id, session=str(session_id)
            )
    return ended
