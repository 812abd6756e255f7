"""The chain of seals: the statement of a seal, its signature, and how the next one is appended.

Each statement contains the digest of the one before it, so the newest signature covers the whole chain.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connections

from audit.exceptions import ChainBrokenError
from audit.models import Seal
from tenancy.context import current_alias

from .keys import public_key_of, signing_key

ID_BYTES = 16
LEAF_BYTES = ID_BYTES + 32  # a row's id and its hash

# The hash covers all columns of a row, as a JSON array that PostgreSQL makes.
ROW_HASH = """sha256(convert_to(jsonb_build_array(
    log.id, log.creator_id, log.at AT TIME ZONE 'UTC', log.type, log.request_id, log.detail,
    encode(log.personal_digest, 'hex'), log.written_at AT TIME ZONE 'UTC', log.written_xid)::text, 'UTF8'))"""


class Kind(StrEnum):
    ROWS = "rows"
    KEY = "key"  # another key signs from here on
    DROPPED = "dropped"  # a partition was dropped
    RESTORED = "restored"  # the database was restored from a dump; transaction numbers start again


class Position(NamedTuple):
    """A row's position in the order of sealing. Ids in hex sort as PostgreSQL sorts them."""

    xid: int
    id: str


START, MAX_ID = Position(0, "0" * 32), "f" * 32


@dataclass(frozen=True)
class Statement:
    """The signed content of a seal. It covers the rows written after `since`, from `after` up to `last`.

    No row can still appear in this range: every transaction up to `last` has ended. Transactions numbered
    `next` and above had not started at `sealed_at`. Times are text because PostgreSQL has "-infinity".
    """

    number: int
    kind: Kind
    previous: str  # SHA-256 of the statement before, hex
    key: str  # public key, hex
    sealed_at: str
    next: int
    since: str
    after: Position  # exclusive
    last: Position  # inclusive
    rows: int = 0  # covered; of a partition: dropped with it
    leaves_digest: str = ""  # SHA-256, hex
    partition: str = ""

    def text(self) -> str:
        """The canonical JSON, which is signed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `text`.

        Raises:
            ValueError: the text is not a statement in canonical form.

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

    def matches_leaves(self, leaves: bytes) -> bool:
        rows = self.rows if self.kind == Kind.ROWS else 0
        return len(leaves) == rows * LEAF_BYTES and digest_of_leaves(leaves) == self.leaves_digest


GENESIS = Statement(0, Kind.ROWS, "", "", "-infinity", 0, "-infinity", START, START)


def newest_statement() -> Statement:
    """The statement of the newest seal; GENESIS if there is none.

    Raises:
        ChainBrokenError: it can't be parsed.

    """
    text = Seal.objects.order_by("-number").values_list("statement", flat=True).first()
    try:
        return GENESIS if text is None else Statement.parse(text)
    except ValueError as error:
        raise ChainBrokenError from error


def append(
    newest: Statement, kind: Kind, *, key: Ed25519PrivateKey | None = None, leaves: bytes = b"", **fields: Any
) -> None:
    """Write the seal after `newest`. It covers no rows unless `fields` has a new `last`.

    Raises:
        IntegrityError: another process has written a seal of this number.
        SealKeyLockedError: the key can't be decrypted.

    """
    key, snapshot = key or signing_key(), transaction_snapshot()
    statement = Statement(
        number=newest.number + 1,
        kind=kind,
        previous=newest.digest(),
        key=public_key_of(key),
        sealed_at=snapshot.at.isoformat(),
        next=snapshot.next,
        after=newest.last,
        leaves_digest=digest_of_leaves(leaves),
        **{"since": newest.since, "last": newest.last} | fields,
    )
    text = statement.text()
    Seal.objects.create(
        number=statement.number, statement=text, signature=key.sign(text.encode()), leaves=leaves
    )


def digest_of_leaves(leaves: bytes) -> str:
    return hashlib.sha256(leaves).hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """PostgreSQL's transaction numbers at one moment."""

    oldest_open: int  # every transaction below has ended
    next: int  # no transaction from here on has started
    at: datetime


def transaction_snapshot() -> Snapshot:
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint, "
            "clock_timestamp() FROM pg_current_snapshot() AS snapshot"
        )
        return Snapshot(*cursor.fetchone())
