"""Letting old pages go, whole, and saying so in a seal."""

import logging
from datetime import date

import psycopg
from django.conf import settings
from django.db import IntegrityError, OperationalError, connections, transaction
from django.utils import timezone

from audit.sealing.chain import Kind, append, newest_statement
from audit.sealing.sealer import has_unsealed
from tenancy.context import current_alias

from .models import AuditLog, PersonalData
from .partitions import id_bounds, month_of, months_after
from .sql import audit_drop_partition

logger = logging.getLogger(__name__)
LOCK_TIMEOUT = "200ms"  # whoever writes meanwhile waits behind us


def drop_expired_partitions() -> list[str]:
    """Let go the pages that are older than AUDIT_RETENTION_MONTHS, and the personal data beside them.

    A page whose rows are not all sealed stays, and so does one that somebody reads: until next time.

    Raises:
        SealKeyLockedError: the key can't be opened.

    """
    if not settings.AUDIT_RETENTION_MONTHS:
        return []
    oldest_kept = months_after(timezone.now().date(), -settings.AUDIT_RETENTION_MONTHS)
    return [page for page in _pages() if month_of(page) < oldest_kept and _drop(page, month_of(page))]


def _pages() -> list[str]:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'audit_logs'::regclass "
            "AND inhrelid::regclass::text ~ '^audit_logs_[0-9]{6}$' ORDER BY 1"
        )
        return [page for (page,) in cursor]


def _drop(page: str, month: date) -> bool:
    first, end = id_bounds(page)
    rows = AuditLog.objects.filter(id__gte=first, id__lt=end)
    if has_unsealed(rows):
        logger.warning("page stays: its rows are not all sealed", extra={"page": page})
        return False
    personal = PersonalData.objects.filter(id__gte=first, id__lt=end)
    personal._raw_delete(personal.db)
    try:
        with transaction.atomic(using=current_alias()):
            append(newest_statement(), Kind.DROPPED, page=page, rows=rows.count())
            with connections[current_alias()].cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            audit_drop_partition(month=month)
    except IntegrityError:  # another worker has written a seal of that number
        return False
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return False
        raise
    logger.info("page let go", extra={"page": page})
    return True
