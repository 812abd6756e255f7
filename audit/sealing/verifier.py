"""The book held against its seals: every row is hashed anew, in one look at one moment.

Reads forward once, in the order of sealing, and keeps in memory the rows of a single seal.
"""

import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, transaction

from audit.models import AuditLog, Seal, SealKey
from audit.partitions import id_bounds
from tenancy.context import current_alias

from .chain import ENTRY, GENESIS, Kind, Statement, entries_of, merkle_root
from .keys import private_half, verifies
from .reader import LoggedRow, SealedRowReader, named
from .sealer import SETTLE

ROUNDING = 0.001  # seconds: a row's time is cut to its millisecond
SEALS_AT_ONCE = 20  # read ahead, with up to BATCH rows' leaves each


class Exported(NamedTuple):
    """A seal that was kept elsewhere."""

    number: int
    statement: str
    signature: bytes


class Verification:
    """One look through the book; `findings` runs it, and the counts are right when it has ended."""

    def __init__(
        self, exported: Iterable[Exported] = (), progress: Callable[[int], object] = lambda rows: None
    ) -> None:
        self.rows = self.seals = self.unsealed = 0
        self.unsealed_since = time.time()
        self.dropped: dict[str, Statement] = {}  # by page
        self._exported = iter(exported)
        self._expected = next(self._exported, None)
        self._progress = progress
        self._previous, self._number = GENESIS, 0
        self._is_gap = False  # the seal before is missing or worthless
        self._marks = SealTimes(0, float("-inf"))
        self._dropped_row_counts: dict[str, int] = {}

    def findings(self) -> Iterator[str]:
        """What is not as it was sealed, a sentence each, the first one first."""
        with transaction.atomic(using=current_alias()):
            with connections[current_alias()].cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute("LOCK TABLE audit_logs IN ACCESS SHARE MODE")  # no page goes meanwhile
            self._keys = {key.public_key: key for key in SealKey.objects.all()}
            self._read_ahead()
            self._book = SealedRowReader("-infinity", next(self._eras))
            for seal in Seal.objects.order_by("number").iterator(chunk_size=SEALS_AT_ONCE):
                yield from self._verify_seal(seal)
                self._progress(self.rows)
            yield from self._verify_end()

    def _read_ahead(self) -> None:
        """What later seals say of earlier rows."""
        told = Seal.objects.order_by("number").exclude(statement__contains='"kind":"rows"').defer("leaves")
        said = [self._read(seal) for seal in told]
        self.dropped = {one.page: one for one in said if one and one.kind == Kind.DROPPED}
        self._dropped_row_counts = dict.fromkeys(self.dropped, 0)
        self._eras = iter([*(one.since for one in said if one and one.kind == Kind.RESTORED), "infinity"])

    def _read(self, seal: Seal) -> Statement | None:
        """What was signed; None where this is not it."""
        try:
            said = Statement.of(seal.statement)
        except ValueError:
            return None
        is_ours = said.number == seal.number and said.key in self._keys
        return said if is_ours and verifies(said.key, bytes(seal.signature), seal.statement) else None

    def _verify_seal(self, seal: Seal) -> Iterator[str]:
        self.seals += 1
        if seal.number > self._number + 1:
            yield _missing(self._number + 1, seal.number - 1)
            self._is_gap = True
        self._number = seal.number
        yield from self._compare_with_exported(seal)
        said = self._read(seal)
        if said is None or not _fits(said, bytes(seal.leaves)):
            yield f"seal {seal.number} was edited, or was never ours"
            self._is_gap = True
            return
        if not self._is_gap and said.previous != self._previous.digest():
            yield f"seal {seal.number} does not follow seal {self._previous.number}"
        yield from self._verify_rows(said, bytes(seal.leaves))
        self._previous, self._is_gap = said, False

    def _verify_rows(self, said: Statement, leaves: bytes) -> Iterator[str]:
        for row in self._book.up_to(said.after):
            if not self._is_gap:
                yield f"{named(row.id)} was put in among sealed rows, before seal {said.number}"
        rows, sealed_at = list(self._book.up_to(said.last)), _epoch(said.sealed_at)
        self.rows += len(rows)
        if b"".join([row.id + row.hash for row in rows]) == leaves:
            for row in rows:
                yield from self._verify_row(row, sealed_at)
        else:
            yield from self._differences(said, leaves, rows)
        self._marks.add(said.next, sealed_at)
        if said.kind == Kind.RESTORED:
            for row in self._book.rest():
                yield f"{named(row.id)} was put in among sealed rows, before seal {said.number}"
            self._book = SealedRowReader(said.since, next(self._eras))
            self._marks = SealTimes(0, _epoch(said.since))

    def _differences(self, said: Statement, leaves: bytes, rows: list[LoggedRow]) -> Iterator[str]:
        sealed = {entry[:16]: entry[16:] for entry in entries_of(leaves)}
        present = {row.id: row for row in rows}
        for id_ in _merge_in_order(sealed, present):
            if id_ not in present:
                yield from self._verify_absent(id_, said.number)
            elif id_ not in sealed:
                yield f"{named(id_)} was put in among the rows of seal {said.number}"
            elif present[id_].hash != sealed[id_]:
                yield f"{named(id_)} was changed after seal {said.number}"
            else:
                yield from self._verify_row(present[id_], _epoch(said.sealed_at))

    def _verify_absent(self, id_: bytes, number: int) -> Iterator[str]:
        for page in self._dropped_row_counts:
            first, end = id_bounds(page)
            if first.bytes <= id_ < end.bytes:
                self._dropped_row_counts[page] += 1
                return
        is_elsewhere = AuditLog.objects.filter(pk=UUID(bytes=id_)).exists()
        yield f"{named(id_)} was {'changed' if is_elsewhere else 'removed'} after seal {number}"

    def _verify_row(self, row: LoggedRow, sealed_at: float) -> Iterator[str]:
        before = self._marks.last_before(row.xid)
        # where the database's clock was put back meanwhile, the times say nothing
        if before <= sealed_at and row.dated() + ROUNDING < before - SETTLE.total_seconds():
            yield f"{named(row.id)} was put in later than it says: the rows of that time were sealed by then"
        if not row.fits_personal_data():
            yield f"{named(row.id)}: its personal data were changed"

    def _verify_end(self) -> Iterator[str]:
        for row in self._book.rest():
            yield from self._verify_row(row, time.time())
            self.unsealed += 1
            self.unsealed_since = min(self.unsealed_since, row.written_at)
        for page, said in self.dropped.items():
            if said.rows != (sealed := self._dropped_row_counts[page]):
                yield f"{page} was let go with {said.rows} rows, and {sealed} of its rows were sealed"
        newest = self._keys.get(self._previous.key)
        if newest and private_half(newest) is None:
            yield (
                f"seal {self._previous.number}, the newest, has a key that SECRET_KEY does not open: "
                "either SECRET_KEY was changed (then run rotate_seal_key), or the chain is somebody else's"
            )
        if self._expected:
            yield f"{_missing(self._expected.number, None)}: the end was cut off"

    def _compare_with_exported(self, seal: Seal) -> Iterator[str]:
        if self._expected is None or seal.number < self._expected.number:
            return
        expected, self._expected = self._expected, next(self._exported, None)
        if expected != (seal.number, seal.statement, bytes(seal.signature)):
            yield f"seal {expected.number} is not the one that was exported"
            self._expected = None  # nor can the later ones be


class SealTimes:
    """When seals were made, by the transactions that had not begun by then."""

    def __init__(self, xid: int, at: float) -> None:
        self._next, self._at = array("q", [xid]), array("d", [at])

    def add(self, xid: int, at: float) -> None:
        self._next.append(xid)
        self._at.append(at)

    def last_before(self, xid: int) -> float:
        return self._at[max(0, bisect_right(self._next, xid) - 1)]


def _merge_in_order(sealed: Mapping[bytes, Any], present: Mapping[bytes, Any]) -> Iterator[bytes]:
    """The ids of both, each once, in the order of sealing."""
    queue = iter(present)
    for id_ in sealed:
        if id_ in present:
            for other in queue:
                if other == id_:
                    break
                if other not in sealed:
                    yield other
        yield id_
    yield from (other for other in queue if other not in sealed)


def _fits(said: Statement, leaves: bytes) -> bool:
    """Are these the leaves that the statement speaks of?"""
    if said.kind != Kind.ROWS:
        return not leaves
    is_whole = len(leaves) == said.rows * ENTRY and said.rows > 0
    return is_whole and merkle_root(entries_of(leaves)).hex() == said.root


def _epoch(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def _missing(first: int, last: int | None) -> str:
    if first == last:
        return f"seal {first} is missing"
    return f"seals {first} to {last} are missing" if last else f"seal {first} and what followed is missing"
