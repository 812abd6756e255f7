"""Sealing: new rows are hashed, chained and signed in batches, after they were written.

Rows are sealed in the order (`written_xid`, `id`). A transaction may commit long after a later one, so a
seal covers only rows below the oldest open transaction. No row can appear there later, except a forged one.
"""

from datetime import timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from django.db import IntegrityError, connections, transaction
from django.db.models import Q, QuerySet

from audit.exceptions import ChainBrokenError
from audit.models import AuditLog
from tenancy.context import current_alias

from .chain import (
    MAX_ID,
    ROW_HASH,
    START,
    Kind,
    Position,
    Snapshot,
    Statement,
    append,
    newest_statement,
    transaction_snapshot,
)
from .keys import create_key, public_key_of

MAX_XID = 2**63 - 1
BATCH_SIZE = 5000  # maximum rows of a seal
MAX_ROWS_PER_CALL = 20 * BATCH_SIZE  # of `seal_new_rows`
# Rows are sealed no earlier than this after being written. Any row that appears later below the sealed
# position is therefore a forgery and not a slow commit.
MIN_AGE = timedelta(seconds=15)


class UnsealedRow(NamedTuple):
    xid: int
    id: bytes
    written_at: float  # epoch; PostgreSQL's range of times is wider than Python's
    hash: bytes


def seal_new_rows() -> int:
    """Seal the rows that can be sealed, at most about MAX_ROWS_PER_CALL; returns how many.

    Raises:
        SealingError: the key can't be decrypted, or the newest seal can't be parsed.

    """
    sealed = 0
    try:
        while sealed < MAX_ROWS_PER_CALL and (rows := _seal_batch()):
            sealed += rows
    except IntegrityError:
        pass  # another worker has written the seal of this number; ours is rolled back
    return sealed


def rotate_key() -> str:
    """Create a new key and announce it in a seal; returns its public key."""
    with transaction.atomic(using=current_alias()):
        key = create_key()
        append(newest_statement(), Kind.KEY, key=key)
    return public_key_of(key)


def waiting_seconds() -> float:
    """The age of the oldest unsealed row; 0 if there is none, infinity if nothing can be sealed."""
    try:
        newest = newest_statement()
    except ChainBrokenError:
        return float("inf")
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            f"SELECT extract(epoch FROM clock_timestamp() - log.written_at)::float8 "
            f"{_UNSEALED} ORDER BY log.written_xid, log.id LIMIT 1",
            _parameters(newest),
        )
        row = cursor.fetchone()
    return max(0.0, row[0]) if row else 0.0


def has_unsealed(rows: QuerySet[AuditLog]) -> bool:
    newest = newest_statement()
    after = Q(written_xid__gt=newest.last.xid) | Q(written_xid=newest.last.xid, id__gt=newest.last.id)
    since = Q() if newest.since == "-infinity" else Q(written_at__gt=newest.since)
    return rows.filter(after & since).exists()


def _seal_batch() -> int:
    """Write the next seal in one transaction; returns how many rows it covers, 0 for no seal."""
    with transaction.atomic(using=current_alias()):
        newest, snapshot = newest_statement(), transaction_snapshot()
        if snapshot.next <= newest.last.xid:  # the server has not reached the sealed transactions
            return _seal_after_restore(newest, snapshot)
        return _seal_normally(newest, snapshot)


def _seal_normally(newest: Statement, snapshot: Snapshot) -> int:
    """Seal rows of ended transactions, up to the first that was written less than MIN_AGE ago."""
    rows = _rows_after(newest, below=snapshot.oldest_open)
    now = snapshot.at.timestamp()
    written_until = now - MIN_AGE.total_seconds()
    # a time in the future comes from a clock that was set back; waiting for it is useless
    batch = list(takewhile(lambda row: not written_until < row.written_at <= now, rows[:BATCH_SIZE]))
    return _append_rows(newest, batch, end=_end_of(batch, rows, snapshot.oldest_open))


def _seal_after_restore(newest: Statement, snapshot: Snapshot) -> int:
    """Seal the rest of the dump's rows. After the last one, say that transaction numbers start again."""
    rows = _rows_after(newest, below=MAX_XID)
    if not rows:
        append(newest, Kind.RESTORED, since=_end_of_dump(newest, snapshot), last=START)
    return _append_rows(newest, rows[:BATCH_SIZE], end=_end_of(rows[:BATCH_SIZE], rows, MAX_XID))


def _end_of(batch: list[UnsealedRow], rows: list[UnsealedRow], limit: int) -> int:
    """The transaction before which `batch` has all rows that there are: that of the row that follows it."""
    return rows[len(batch)].xid if len(batch) < len(rows) else limit


def _append_rows(newest: Statement, rows: list[UnsealedRow], end: int) -> int:
    if not rows:
        return 0
    last = max(Position(rows[-1].xid, rows[-1].id.hex()), Position(end - 1, MAX_ID))
    append(newest, Kind.ROWS, leaves=b"".join(row.id + row.hash for row in rows), last=last, rows=len(rows))
    return len(rows)


def _rows_after(newest: Statement, below: int) -> list[UnsealedRow]:
    """The rows of the next batch and the one that follows it."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            f"SELECT log.written_xid, uuid_send(log.id), extract(epoch FROM log.written_at)::float8, "
            f"{ROW_HASH} {_UNSEALED} AND log.written_xid < %(below)s "
            "ORDER BY log.written_xid, log.id LIMIT %(limit)s",
            {**_parameters(newest), "below": below, "limit": BATCH_SIZE + 1},
        )
        return [UnsealedRow(xid, bytes(id_), at, bytes(hash_)) for xid, id_, at, hash_ in cursor]


_UNSEALED = """
    FROM audit_logs AS log
    WHERE log.written_at > %(since)s::timestamptz AND (log.written_xid, log.id) > (%(xid)s, %(id)s::uuid)
"""


def _parameters(newest: Statement) -> dict[str, Any]:
    return {"since": newest.since, "xid": newest.last.xid, "id": newest.last.id}


def _end_of_dump(newest: Statement, snapshot: Snapshot) -> str:
    """When the last row of the dump was written."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("SELECT max(written_at) FROM audit_logs WHERE written_xid >= %s", [snapshot.next])
        (written_at,) = cursor.fetchone()
    return written_at.isoformat() if written_at else newest.sealed_at
