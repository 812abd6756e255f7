"""Verification: every row is hashed again and compared with its seal, in one snapshot of the database.

The rows are read once, in the order of sealing. Only those of one seal are in memory.
"""

import time
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections, transaction

from audit.models import AuditLog, Seal, SealKey
from audit.partitions import id_bounds
from tenancy.context import current_alias

from .chain import GENESIS, ID_BYTES, LEAF_BYTES, Kind, Statement
from .keys import decrypt_private_key, is_signature_valid
from .reader import LoggedRow, SealedRowReader, describe_row
from .sealer import MIN_AGE

TIME_PRECISION = 0.001  # seconds: `at` and the time in the id are truncated to milliseconds
SEALS_PER_FETCH = 20  # with the leaves of up to BATCH_SIZE rows each


class ExportedSeal(NamedTuple):
    number: int
    statement: str
    signature: bytes


@dataclass
class DroppedPartition:
    statement: Statement
    sealed_rows: int = 0  # found in the seals so far

    def contains(self, id_: bytes) -> bool:
        start, end = id_bounds(self.statement.partition)
        return start.bytes <= id_ < end.bytes


@dataclass
class Summary:
    """What a verification has read. It is complete when all findings have been consumed."""

    rows: int = 0  # sealed
    seals: int = 0
    unsealed: int = 0
    unsealed_since: float = float("inf")  # epoch
    dropped: list[DroppedPartition] = field(default_factory=list)


class SealTimes:
    """When each seal was made, and which transactions had not begun by then."""

    def __init__(self, start: float) -> None:
        self._next_xids, self._times = array("q", [0]), array("d", [start])

    def add(self, sealed_at: float, *, next_xid: int) -> None:
        self._next_xids.append(next_xid)
        self._times.append(sealed_at)

    def last_before(self, xid: int) -> float:
        """The time of the last seal that was made before this transaction began."""
        return self._times[max(0, bisect_right(self._next_xids, xid) - 1)]


@dataclass
class _State:
    """What the next seal is compared with."""

    summary: Summary
    keys: dict[str, SealKey]
    reader: SealedRowReader
    times: SealTimes
    next_number: int = 1
    previous: Statement = GENESIS  # of the last valid seal
    follows_gap: bool = False  # the seal after `previous` is missing or invalid


def verify(
    summary: Summary,
    exported: Iterable[ExportedSeal] = (),
    on_progress: Callable[[Summary], object] = lambda summary: None,
) -> Iterator[str]:
    """Yield each difference between rows and seals as a sentence, the first broken row first."""
    with transaction.atomic(using=current_alias()):
        state, expected = _begin(summary), _ExpectedSeals(exported)
        for seal in Seal.objects.order_by("number").iterator(chunk_size=SEALS_PER_FETCH):
            yield from _verify_number(state, seal.number)
            yield from expected.compare(seal)
            yield from _verify_seal(state, seal)
            on_progress(summary)
        yield from _verify_unsealed_rows(state)
        yield from _verify_dropped_partitions(summary)
        yield from _verify_newest_key(state)
        yield from expected.rest()


def _begin(summary: Summary) -> _State:
    """Start the snapshot; read what seals say about earlier rows: dropped partitions and restores."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # a partition dropped meanwhile would lose its rows, while the snapshot lacks the seal about it
        cursor.execute("LOCK TABLE audit_logs IN ACCESS SHARE MODE")
    keys = {key.public_key: key for key in SealKey.objects.all()}
    seals = Seal.objects.order_by("number").exclude(statement__contains='"kind":"rows"').defer("leaves")
    statements = [statement for seal in seals if (statement := _signed_statement(seal, keys))]
    summary.dropped = [DroppedPartition(drop) for drop in statements if drop.kind == Kind.DROPPED]
    restores = [statement.since for statement in statements if statement.kind == Kind.RESTORED]
    return _State(summary, keys, SealedRowReader(restores), SealTimes(float("-inf")))


def _signed_statement(seal: Seal, keys: Collection[str]) -> Statement | None:
    """None if the seal's statement is not the one that was signed."""
    try:
        statement = Statement.parse(seal.statement)
    except ValueError:
        return None
    if statement.number != seal.number or statement.key not in keys:
        return None
    is_valid = is_signature_valid(statement.key, bytes(seal.signature), seal.statement)
    return statement if is_valid else None


def _verify_number(state: _State, number: int) -> Iterator[str]:
    if number > state.next_number:
        yield _missing(state.next_number, number - 1)
        state.follows_gap = True
    state.next_number = number + 1


def _verify_seal(state: _State, seal: Seal) -> Iterator[str]:
    state.summary.seals += 1
    statement, leaves = _signed_statement(seal, state.keys), bytes(seal.leaves)
    if statement is None or not statement.matches_leaves(leaves):
        yield f"seal {seal.number} was edited or was not written by this service"
        state.follows_gap = True
        return
    if not state.follows_gap and statement.previous != state.previous.digest():
        yield f"seal {seal.number} does not follow seal {state.previous.number}"
    yield from _verify_rows(state, statement, leaves)
    if statement.kind == Kind.RESTORED:
        yield from _start_next_span(state, statement)
    state.previous, state.follows_gap = statement, False


def _verify_rows(state: _State, statement: Statement, leaves: bytes) -> Iterator[str]:
    for inserted in state.reader.up_to(statement.after):
        if not state.follows_gap:  # otherwise the missing seal may cover it
            yield _inserted_before(statement, inserted)
    starts = range(0, len(leaves), LEAF_BYTES)
    sealed = {leaves[at : at + ID_BYTES]: leaves[at + ID_BYTES : at + LEAF_BYTES] for at in starts}
    present = {row.id: row for row in state.reader.up_to(statement.last)}
    state.summary.rows += len(present)
    sealed_at = _epoch(statement.sealed_at)
    for id_ in merge_in_order(sealed, present):
        row = present.get(id_)
        if row is None:
            yield from _verify_absent(state.summary, statement, id_)
        elif id_ not in sealed:
            yield f"{describe_row(id_)} was inserted among the rows of seal {statement.number}"
        elif row.hash != sealed[id_]:
            yield f"{describe_row(id_)} was changed after seal {statement.number}"
        else:
            yield from _verify_row(row, state.times, sealed_at)
    state.times.add(sealed_at, next_xid=statement.next)


def _start_next_span(state: _State, restored: Statement) -> Iterator[str]:
    for row in state.reader.rest():
        yield _inserted_before(restored, row)
    state.reader.start_next_span()
    state.times = SealTimes(_epoch(restored.since))


def _inserted_before(statement: Statement, row: LoggedRow) -> str:
    return f"{describe_row(row.id)} was inserted among sealed rows, before seal {statement.number}"


def _verify_absent(summary: Summary, statement: Statement, id_: bytes) -> Iterator[str]:
    for partition in summary.dropped:
        if partition.contains(id_):
            partition.sealed_rows += 1
            return
    has_moved = AuditLog.objects.filter(pk=UUID(bytes=id_)).exists()
    verb = "changed" if has_moved else "removed"
    yield f"{describe_row(id_)} was {verb} after seal {statement.number}"


def _verify_row(row: LoggedRow, times: SealTimes, sealed_at: float) -> Iterator[str]:
    earlier_seal = times.last_before(row.xid)
    # if the database's clock was set back in between, the times prove nothing
    has_valid_times = earlier_seal <= sealed_at
    if has_valid_times and row.claimed_time() + TIME_PRECISION < earlier_seal - MIN_AGE.total_seconds():
        yield f"{describe_row(row.id)} is backdated: rows of its time were sealed before it was inserted"
    if not row.is_personal_data_intact():
        yield f"{describe_row(row.id)}: its personal data were changed"


def _verify_unsealed_rows(state: _State) -> Iterator[str]:
    summary = state.summary
    for row in state.reader.rest():
        yield from _verify_row(row, state.times, time.time())
        summary.unsealed += 1
        summary.unsealed_since = min(summary.unsealed_since, row.written_at)


def _verify_dropped_partitions(summary: Summary) -> Iterator[str]:
    for partition in summary.dropped:
        name, rows = partition.statement.partition, partition.statement.rows
        if rows != partition.sealed_rows:
            yield f"{name} was dropped with {rows} rows, but {partition.sealed_rows} of its rows were sealed"


def _verify_newest_key(state: _State) -> Iterator[str]:
    key = state.keys.get(state.previous.key)
    if key and decrypt_private_key(key) is None:
        yield (
            f"seal {state.previous.number}, the newest, has a key that SECRET_KEY does not decrypt: either "
            "SECRET_KEY was changed (then run rotate_seal_key), or somebody else wrote the chain"
        )


class _ExpectedSeals:
    """Compares the seals with those that were exported."""

    def __init__(self, exported: Iterable[ExportedSeal]) -> None:
        self._exported = iter(exported)
        self._next = next(self._exported, None)

    def compare(self, seal: Seal) -> Iterator[str]:
        if self._next is None or seal.number < self._next.number:
            return
        expected, self._next = self._next, next(self._exported, None)
        if expected != (seal.number, seal.statement, bytes(seal.signature)):
            yield f"seal {expected.number} differs from the exported one"
            self._next = None  # all later ones differ, too

    def rest(self) -> Iterator[str]:
        if self._next:
            yield f"{_missing(self._next.number, None)}: the end of the chain was cut off"


def merge_in_order(sealed: Collection[bytes], present: Iterable[bytes]) -> Iterator[bytes]:
    """The ids of both, each once, in the order of `sealed`; any other one after the sealed id before it."""
    inserted, before = defaultdict(list), b""
    for id_ in present:
        if id_ in sealed:
            before = id_
        else:
            inserted[before].append(id_)
    yield from inserted[b""]
    for id_ in sealed:
        yield id_
        yield from inserted.get(id_, ())


def _epoch(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def _missing(first: int, last: int | None) -> str:
    if first == last:
        return f"seal {first} is missing"
    return f"seals {first} to {last} are missing" if last else f"seal {first} and all later seals are missing"
