"""Sealing: the new rows of the book are hashed, chained and signed, in batches and after the fact.

Rows are sealed in the order of (`written_xid`, `id`). A transaction may commit long after a later
one, so a seal takes rows only below the oldest transaction that is still open: there, nothing can
appear any more, and what appears all the same was put there.
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
    ROW_HASH,
    START,
    Kind,
    Position,
    Snapshot,
    Statement,
    append,
    end_of,
    merkle_root,
    newest_statement,
    transaction_snapshot,
)
from .keys import make_key, name_of

EVERY_XID = 2**63 - 1
BATCH = 5000  # rows of a seal, at most
ROUND = 20 * BATCH  # rows of a visit of the worker
# A row waits as long, so that who puts one in among the sealed can't be taken for a slow process:
# from the making of an id to its INSERT less time passes, and clocks of our machines differ by less.
SETTLE = timedelta(seconds=15)


class UnsealedRow(NamedTuple):
    xid: int
    id: bytes
    written_at: float  # epoch; PostgreSQL has times that Python has not
    hash: bytes


def seal_new_rows() -> int:
    """Seal what is final, ROUND rows at most; returns how many it were.

    Raises:
        SealingError: the key can't be opened, or there is nothing to go on from.

    """
    sealed = 0
    try:
        while sealed < ROUND and (rows := _seal_batch()):
            sealed += rows
    except IntegrityError:
        pass  # another worker has written the seal of this number, and all of ours is undone
    return sealed


def rotate_key() -> str:
    """From now on a new key signs, and says so in a seal of its own; returns its name."""
    with transaction.atomic(using=current_alias()):
        key = make_key()
        append(newest_statement(), Kind.KEY, key=key)
    return name_of(key)


def waiting_seconds() -> float:
    """For how long the first row after the newest seal waits for its own; 0 for none, inf for ever."""
    try:
        place = _place(newest_statement())
    except ChainBrokenError:
        return float("inf")
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            f"SELECT extract(epoch FROM clock_timestamp() - log.written_at)::float8 "
            f"{_AFTER} ORDER BY log.written_xid, log.id LIMIT 1",
            place,
        )
        found = cursor.fetchone()
    return max(0.0, found[0]) if found else 0.0


def _seal_batch() -> int:
    """Seal the next rows, and return how many; 0 where none is final. One transaction: all or nothing."""
    with transaction.atomic(using=current_alias()):
        newest, seen = newest_statement(), transaction_snapshot()
        is_restored = seen.next <= newest.last.xid  # it has not come as far as what is sealed
        horizon = EVERY_XID if is_restored else seen.oldest_open
        rows = _rows_after(newest, horizon)
        final = rows[:BATCH] if is_restored else _settled(rows[:BATCH], seen.at.timestamp())
        if final:
            _seal_rows(newest, final, horizon if len(final) == len(rows) else rows[len(final)].xid)
        elif is_restored:
            append(newest, Kind.RESTORED, since=_end_of_dump(newest, seen), last=START)
    return len(final)


def _seal_rows(newest: Statement, rows: list[UnsealedRow], horizon: int) -> None:
    """Below the horizon there is no other row, and will be none."""
    entries = [row.id + row.hash for row in rows]
    last = Position(rows[-1].xid, rows[-1].id.hex())
    append(
        newest,
        Kind.ROWS,
        leaves=b"".join(entries),
        last=max(last, end_of(horizon - 1)),
        rows=len(rows),
        root=merkle_root(entries).hex(),
    )


def _settled(rows: list[UnsealedRow], now: float) -> list[UnsealedRow]:
    """Those before the first that is too young; what a clock dated in the future waits for nothing."""
    settled = now - SETTLE.total_seconds()
    return list(takewhile(lambda row: not settled < row.written_at <= now, rows))


def _rows_after(newest: Statement, horizon: int) -> list[UnsealedRow]:
    """The rows of the next batch, and one more."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            f"SELECT log.written_xid, uuid_send(log.id), extract(epoch FROM log.written_at)::float8, "
            f"{ROW_HASH} {_AFTER} AND log.written_xid < %(horizon)s "
            "ORDER BY log.written_xid, log.id LIMIT %(limit)s",
            {**_place(newest), "horizon": horizon, "limit": BATCH + 1},
        )
        return [UnsealedRow(xid, bytes(id_), at, bytes(hash_)) for xid, id_, at, hash_ in cursor]


_AFTER = """
    FROM audit_logs AS log
    WHERE log.written_at > %(since)s::timestamptz AND (log.written_xid, log.id) > (%(xid)s, %(id)s::uuid)
"""


def _place(newest: Statement) -> dict[str, Any]:
    return {"since": newest.since, "xid": newest.last.xid, "id": newest.last.id}


def _end_of_dump(newest: Statement, seen: Snapshot) -> str:
    """When the last row was written that the dump brought along."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("SELECT max(written_at) FROM audit_logs WHERE written_xid >= %s", [seen.next])
        (written_at,) = cursor.fetchone()
    return written_at.isoformat() if written_at else newest.sealed_at


def has_unsealed(rows: QuerySet[AuditLog]) -> bool:
    """Is one of them still to be sealed?"""
    newest = newest_statement()
    after = Q(written_xid__gt=newest.last.xid) | Q(written_xid=newest.last.xid, id__gt=newest.last.id)
    since = Q() if newest.since == "-infinity" else Q(written_at__gt=newest.since)
    return rows.filter(after & since).exists()
