"""API keys of resource servers, which allow introspection and revocation of tokens."""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.exceptions import InvalidTokenError
from accounts.models import ApiKey
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias

PREFIX = "ak_"  # for secret scanners
LAST_USED_INTERVAL = timedelta(minutes=1)


def create_api_key(name: str) -> str | None:
    """Return the new key, which is not stored; None if the name is taken."""
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        ApiKey.objects.create(name=name, digest=_digest(key), created_at=timezone.now())
    except IntegrityError:
        return None
    record(Event.API_KEY_CREATED, client=ClientInfo(), name=name)
    return key


def revoke_api_key(name: str, *, operator_id: UUID | None = None, client: ClientInfo | None = None) -> bool:
    """False if there is no such key, or it was revoked. `operator_id` is None on the command line."""
    with transaction.atomic(using=current_alias()):
        revoked = ApiKey.objects.filter(name=name, revoked_at=None).update(revoked_at=timezone.now())
        if revoked:
            record(Event.API_KEY_REVOKED, client=client or ClientInfo(), creator_id=operator_id, name=name)
    return bool(revoked)


def authenticate(key: str) -> ApiKey:
    """Raises InvalidTokenError: the key is unknown or revoked."""
    row = ApiKey.objects.filter(digest=_digest(key), revoked_at=None).first()
    if row is None:
        raise InvalidTokenError
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > LAST_USED_INTERVAL:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    return row


def _digest(key: str) -> bytes:
    """Without salt or costs, because the key has 256 random bits; so one index lookup finds it."""
    return hashlib.sha256(key.encode()).digest()
