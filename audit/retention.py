"""Dropping partitions that are older than AUDIT_RETENTION_MONTHS. A seal records each one."""

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
LOCK_TIMEOUT = "200ms"  # writers queue behind our lock request


def drop_expired_partitions() -> list[str]:
    """Drop the expired partitions and their personal data; returns their names.

    A partition stays until the next call if some of its rows are unsealed, or if a query reads it.

    Raises:
        SealKeyLockedError: the key can't be decrypted.

    """
    if not settings.AUDIT_RETENTION_MONTHS:
        return []
    oldest_kept = months_after(timezone.now().date(), -settings.AUDIT_RETENTION_MONTHS)
    months = {name: month_of(name) for name in _partitions()}
    return [name for name, month in months.items() if month < oldest_kept and _drop(name, month)]


def _partitions() -> list[str]:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'audit_logs'::regclass "
            "AND inhrelid::regclass::text ~ '^audit_logs_[0-9]{6}$' ORDER BY 1"
        )
        return [name for (name,) in cursor]


def _drop(partition: str, month: date) -> bool:
    start, end = id_bounds(partition)
    rows = AuditLog.objects.filter(id__gte=start, id__lt=end)
    if has_unsealed(rows):
        logger.warning("partition kept: some of its rows are unsealed", extra={"partition": partition})
        return False
    personal_data = PersonalData.objects.filter(id__gte=start, id__lt=end)
    personal_data._raw_delete(personal_data.db)
    try:
        with transaction.atomic(using=current_alias()):
            append(newest_statement(), Kind.DROPPED, partition=partition, rows=rows.count())
            with connections[current_alias()].cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            audit_drop_partition(month=month)
    except IntegrityError:  # another worker has written a seal of this number
        return False
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return False
        raise
    logger.info("partition dropped", extra={"partition": partition})
    return True
