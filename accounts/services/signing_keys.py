"""Generation and rotation of the stored signing keys, by operators and the worker."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.exceptions import NoSigningKeyError
from accounts.models import SigningKey
from accounts.tokens.key_cache import invalidate_key_ring, key_ring
from accounts.tokens.pem import generate_private_key, to_columns
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias


def ensure_signing_key() -> bool:
    """Generate the first key, or the next one if it is due; returns whether it did."""
    if settings.JWT_SECRET_KEY:
        return False
    newest = _keys().order_by("-activates_at").first()
    is_fresh = newest is not None and newest.activates_at + settings.JWT_KEY_ROTATION > timezone.now()
    if is_fresh and _can_sign():
        return False
    rotate_signing_key()
    return True


def rotate_signing_key() -> str:
    """Publish a new key and return its `kid`.

    It signs after JWKS_MAX_AGE, when every cached JWKS includes it, or at once if no other key can sign.
    The old keys verify until their last token expires.
    """
    private = generate_private_key(settings.JWT_ALGORITHM)
    now = timezone.now()
    with transaction.atomic(using=current_alias()):
        _lock()
        activates_at = now + settings.JWKS_MAX_AGE if _can_sign() else now
        last_token_expires_at = activates_at + settings.JWT_REFRESH_TOKEN_LIFETIME
        _keys().filter(expires_at=None).update(expires_at=last_token_expires_at)
        key = SigningKey.objects.create(
            algorithm=settings.JWT_ALGORITHM,
            created_at=now,
            activates_at=activates_at,
            **to_columns(private),
        )
        record(Event.SIGNING_KEY_ROTATED, client=ClientInfo(), kid=key.kid)
    invalidate_key_ring()
    return key.kid


def prune_signing_keys(now: datetime) -> int:
    deleted, _ = SigningKey.objects.filter(expires_at__lt=now).delete()
    return deleted


def _keys() -> QuerySet[SigningKey]:
    return SigningKey.objects.filter(algorithm=settings.JWT_ALGORITHM)


def _can_sign() -> bool:
    """Whether there is a key that the current SECRET_KEY decrypts."""
    invalidate_key_ring()
    try:
        key_ring().signing_key()
    except NoSigningKeyError:
        return False
    return True


def _lock() -> None:
    """Concurrent rotations would retire each other's key before it signs."""
    with transaction.get_connection(current_alias()).cursor() as cursor:
        cursor.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
