"""The rows of the audit log in the order of sealing, with personal data that are not erased."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from django.db import connections

from audit.recorder import is_digest_of
from tenancy.context import current_alias

from .chain import ROW_HASH, Position

UUID_WITH_TIME = 7
ROWS_PER_FETCH = 2000


class LoggedRow(NamedTuple):
    xid: int
    id: bytes
    written_at: float  # epoch, as `at`; PostgreSQL's range of times is wider than Python's
    at: float
    hash: bytes
    personal_digest: bytes | None
    has_same_creator: bool | None  # as its personal data; None if they are erased
    salt: bytes
    ip_address: str | None
    user_agent: str
    email: str

    @property
    def position(self) -> Position:
        return Position(self.xid, self.id.hex())

    def claimed_time(self) -> float:
        """The time in `at` or in the id, whichever is earlier."""
        has_time = self.id[6] >> 4 == UUID_WITH_TIME  # the version (RFC 9562)
        return min(self.at, int.from_bytes(self.id[:6]) / 1000) if has_time else self.at

    def is_personal_data_intact(self) -> bool:
        """Whether the personal data are erased or match the row's digest."""
        if self.has_same_creator is None:
            return True
        personal = {"ip_address": self.ip_address, "user_agent": self.user_agent, "email": self.email}
        return self.has_same_creator and is_digest_of(self.personal_digest, self.salt, **personal)  # type: ignore[arg-type]


class SealedRowReader:
    """Reads all rows once, in spans: transaction numbers start again at each of `restores`, oldest first."""

    def __init__(self, restores: Iterable[str]) -> None:
        self._spans = pairwise(["-infinity", *restores, "infinity"])
        self.start_next_span()

    def start_next_span(self) -> None:
        self._rows = _read_rows(*next(self._spans))
        self._next = next(self._rows, None)

    def up_to(self, last: Position) -> Iterator[LoggedRow]:
        while self._next is not None and self._next.position <= last:
            row, self._next = self._next, next(self._rows, None)
            yield row

    def rest(self) -> Iterator[LoggedRow]:
        """The remaining rows before the next restore."""
        return self.up_to(Position(2**63, ""))


def _read_rows(since: str, until: str) -> Iterator[LoggedRow]:
    with connections[current_alias()].chunked_cursor() as cursor:
        cursor.execute(_ROWS, [since, until])
        while rows := cursor.fetchmany(ROWS_PER_FETCH):
            yield from map(LoggedRow._make, rows)


_ROWS = f"""
    SELECT log.written_xid, uuid_send(log.id), extract(epoch FROM log.written_at)::float8,
        extract(epoch FROM log.at)::float8, {ROW_HASH}, log.personal_digest,
        personal.creator_id = log.creator_id, personal.salt, host(personal.ip_address), personal.user_agent,
        personal.email
    FROM audit_logs AS log LEFT JOIN audit_personal_data AS personal ON personal.id = log.id
    WHERE log.written_at > %s::timestamptz AND log.written_at <= %s::timestamptz
    ORDER BY log.written_xid, log.id
"""


def describe_row(id_: bytes) -> str:
    """The row's id and the time in it."""
    uuid = UUID(bytes=id_)
    try:
        at = datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)
    except ValueError:  # after the year 9999
        return f"row {uuid}"
    return f"row {uuid} of {at:%Y-%m-%d %H:%M:%S} UTC" if uuid.version == UUID_WITH_TIME else f"row {uuid}"
