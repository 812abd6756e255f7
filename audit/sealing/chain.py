"""The chain of seals: what one says, how it is signed, and how the next one follows.

Each statement names the digest of the one before it, so the newest signature vouches for all.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connections

from audit.exceptions import ChainBrokenError
from audit.models import Seal
from tenancy.context import current_alias

from .keys import name_of, signing_key

ENTRY = 16 + 32  # bytes of a row in `leaves`: its id and its hash

# What is hashed of a row: all its columns, as the JSON array that PostgreSQL makes of them.
ROW_HASH = """sha256(convert_to(jsonb_build_array(
    log.id, log.creator_id, log.at AT TIME ZONE 'UTC', log.type, log.request_id, log.detail,
    encode(log.personal_digest, 'hex'), log.written_at AT TIME ZONE 'UTC', log.written_xid)::text, 'UTF8'))"""


class Kind(StrEnum):
    ROWS = "rows"
    KEY = "key"  # from here on another key signs
    DROPPED = "dropped"  # a page was let go, with so many rows
    RESTORED = "restored"  # the database came from a dump; its transactions are counted anew


class Position(NamedTuple):
    """A row's place in the order of sealing; ids in hex compare as PostgreSQL compares them."""

    xid: int
    id: str


START = Position(0, "0" * 32)


def end_of(xid: int) -> Position:
    """The last place that a row of that transaction could have."""
    return Position(xid, "f" * 32)


@dataclass(frozen=True)
class Statement:
    """What a seal says, over the rows after `after` up to `last` that were written after `since`.

    There will be no others in that span: below `last` every transaction has ended. Those from `next`
    on had not begun at `sealed_at`. Times are text, since PostgreSQL's "-infinity" is one of them.
    """

    number: int
    kind: Kind
    previous: str  # SHA-256 of the statement before, hex
    key: str
    sealed_at: str
    next: int
    since: str
    after: Position
    last: Position
    rows: int = 0
    root: str = ""  # Merkle root (RFC 6962) over the leaves, hex
    page: str = ""

    def text(self) -> str:
        """The one spelling, which is signed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read back what `text` wrote.

        Raises:
            ValueError: it did not write this.

        """
        try:
            fields = json.loads(text)
            fields["kind"] = Kind(fields["kind"])
            fields["after"], fields["last"] = Position(*fields["after"]), Position(*fields["last"])
            datetime.fromisoformat(fields["sealed_at"])
            statement = cls(**fields)
        except (TypeError, KeyError) as error:
            raise ValueError(text) from error
        if statement.text() != text:
            raise ValueError(text)
        return statement

    def digest(self) -> str:
        return hashlib.sha256(self.text().encode()).hexdigest()


GENESIS = Statement(0, Kind.ROWS, "", "", "-infinity", 0, "-infinity", START, START)


def newest_statement() -> Statement:
    """What the newest seal says; GENESIS where there is none.

    Raises:
        ChainBrokenError: it says nothing.

    """
    text = Seal.objects.order_by("-number").values_list("statement", flat=True).first()
    try:
        return GENESIS if text is None else Statement.of(text)
    except ValueError as error:
        raise ChainBrokenError from error


def append(
    newest: Statement, kind: Kind, *, key: Ed25519PrivateKey | None = None, leaves: bytes = b"", **facts: Any
) -> None:
    """Write the seal after `newest`; it covers no rows unless `facts` say so.

    Raises:
        IntegrityError: somebody else has written it meanwhile.
        SealKeyLockedError: the key can't be opened.

    """
    key, seen = key or signing_key(), transaction_snapshot()
    chained = {"number": newest.number + 1, "previous": newest.digest(), "key": name_of(key)}
    moment = {"sealed_at": seen.at.isoformat(), "next": seen.next}
    place = {"since": newest.since, "after": newest.last, "last": newest.last}
    said = Statement(kind=kind, **chained, **moment, **place | facts)  # type: ignore[arg-type]
    signature = key.sign(said.text().encode())
    Seal.objects.create(number=said.number, statement=said.text(), signature=signature, leaves=leaves)


def merkle_root(entries: Sequence[bytes]) -> bytes:
    """RFC 6962 § 2.1."""
    level = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs] + (
            level[-1:] if len(level) % 2 else []
        )
    return level[0]


def entries_of(leaves: bytes) -> list[bytes]:
    return [leaves[start : start + ENTRY] for start in range(0, len(leaves), ENTRY)]


@dataclass(frozen=True)
class Snapshot:
    """What PostgreSQL says of its transactions at a moment."""

    oldest_open: int  # below it all have ended
    next: int
    at: datetime


def transaction_snapshot() -> Snapshot:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(seen)::text::bigint, pg_snapshot_xmax(seen)::text::bigint, "
            "clock_timestamp() FROM pg_current_snapshot() AS seen"
        )
        return Snapshot(*cursor.fetchone())
