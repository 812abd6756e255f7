"""The rows of the book for verifying: in the order of sealing, with what is left of personal data."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections

from audit.recorder import is_digest_of
from tenancy.context import current_alias

from .chain import ROW_HASH, Position

UUID_WITH_TIME = 7


class LoggedRow(NamedTuple):
    xid: int
    id: bytes
    written_at: float  # epoch; PostgreSQL has times that Python has not
    at: float
    hash: bytes
    personal_digest: bytes | None
    is_own: bool | None  # None: the personal data are erased
    salt: bytes
    ip_address: str | None
    user_agent: str
    email: str

    @property
    def position(self) -> Position:
        return Position(self.xid, self.id.hex())

    def dated(self) -> float:
        """When it says that it happened, in its time or in its id."""
        has_time = self.id[6] >> 4 == UUID_WITH_TIME  # the version (RFC 9562)
        return min(self.at, int.from_bytes(self.id[:6]) / 1000) if has_time else self.at

    def fits_personal_data(self) -> bool:
        """Are they what they were, or erased?"""
        if self.is_own is None:
            return True
        own = {"ip_address": self.ip_address, "user_agent": self.user_agent, "email": self.email}
        return self.is_own and is_digest_of(self.personal_digest, self.salt, **own)  # type: ignore[arg-type]


class SealedRowReader:
    """The rows that were written in a span of time, in the order of sealing, read forward once."""

    def __init__(self, since: str, until: str) -> None:
        self._rows = _read_rows(since, until)
        self._next = next(self._rows, None)

    def up_to(self, last: Position) -> Iterator[LoggedRow]:
        while self._next is not None and self._next.position <= last:
            row, self._next = self._next, next(self._rows, None)
            yield row

    def rest(self) -> Iterator[LoggedRow]:
        return self.up_to(Position(2**63, ""))


def _read_rows(since: str, until: str) -> Iterator[LoggedRow]:
    with connections[current_alias()].chunked_cursor() as cursor:
        cursor.execute(_ROWS, [since, until])
        while rows := cursor.fetchmany(2000):
            yield from map(LoggedRow._make, rows)


_ROWS = f"""
    SELECT log.written_xid, uuid_send(log.id), extract(epoch FROM log.written_at)::float8,
        extract(epoch FROM log.at)::float8, {ROW_HASH}, log.personal_digest,
        own.creator_id = log.creator_id, own.salt, host(own.ip_address), own.user_agent, own.email
    FROM audit_logs AS log LEFT JOIN audit_personal_data AS own ON own.id = log.id
    WHERE log.written_at > %s::timestamptz AND log.written_at <= %s::timestamptz
    ORDER BY log.written_xid, log.id
"""


def named(id_: bytes) -> str:
    """A row, as a person would look for it."""
    uuid = UUID(bytes=id_)
    try:
        at = datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)
    except ValueError:  # after the year 9999
        return f"row {uuid}"
    return f"row {uuid} of {at:%Y-%m-%d %H:%M:%S} UTC" if uuid.version == UUID_WITH_TIME else f"row {uuid}"
