"""Everything that an owner of the tables could do to what is sealed, once the triggers are off."""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.sealing import chain, sealer, verifier
from audit.sealing.verifier import Verification
from tenancy.context import OPERATOR, using_alias

TABLES = ("audit_logs", "audit_personal_data", "audit_seals", "audit_seal_keys")
ADDRESSES = ("203.0.113.9", "2001:db8::a1", "::102:304", None)
Names = set[str]  # of which the first finding has one


@pytest.fixture(autouse=True)
def at_once(superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is sealed as soon as its transaction has ended, and no transaction of another database holds it up.

    Transactions are the whole server's, and other tests run beside these.
    """
    snapshot = chain.transaction_snapshot
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_xid::text::bigint = %s"
    )

    def snapshot_when_others_are_quiet() -> chain.Snapshot:
        seen, end = snapshot(), time.monotonic() + 20
        while seen.oldest_open != seen.next and time.monotonic() < end:
            if superuser.execute(query, [seen.oldest_open]).rowcount:
                break
            time.sleep(0.002)
            seen = snapshot()
        return seen

    for module in (chain, sealer):
        monkeypatch.setattr(module, "transaction_snapshot", snapshot_when_others_are_quiet)
    for module in (sealer, verifier):
        monkeypatch.setattr(module, "SETTLE", timedelta(0))


class Forger:
    """Somebody who may write into every table, and has a seed."""

    def __init__(self, database: psycopg.Connection, seed: int) -> None:
        self.database, self.dice = database, random.Random(seed)

    def run(self, statement: str, *values: Any) -> None:
        touched = self.database.execute(statement.encode(), values or None).rowcount
        assert touched, statement

    def column(self, query: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.database.execute(query.encode(), values or None)]

    def rows(self, count: int) -> list[UUID]:
        """Some of the sealed rows, in the order of sealing."""
        ids = self.column("SELECT id FROM audit_logs ORDER BY written_xid, id")
        return [ids[place] for place in sorted(self.dice.sample(range(len(ids)), count))]

    def seals(self, count: int) -> list[int]:
        """Some of the seals, in order, and never the last one: without it the end is cut off."""
        numbers = self.column("SELECT number FROM audit_seals ORDER BY number")[:-1]
        return sorted(self.dice.sample(numbers, count))


def record_some(count: int) -> None:
    """Events of two tenants and of nobody, with all that a client may have."""
    tenants = (uuid4(), uuid4(), None)
    for number in range(count):
        client = ClientInfo(ADDRESSES[number % 4], 'Fire"fox\\ ä\x7f', f"request-{number}")
        email = "ä@example.com" if number % 2 else ""
        kinds = {"number": number, "float": 1.1, "text": "ä\u2028", "nested": {"b": [None, True]}}
        record(list(Event)[number % 9], client=client, creator_id=tenants[number % 3], email=email, **kinds)


def verify(*exported: Any) -> list[str]:
    with using_alias(OPERATOR):
        return list(Verification(exported).findings())


@contextmanager
def unguarded(database: psycopg.Connection) -> Iterator[None]:
    """No trigger fires; what was there before is there again afterwards."""
    triggers = database.execute(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'audit%' ORDER BY tgparentid"
    ).fetchall()
    for table, trigger in triggers:
        database.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
    for table in TABLES:
        database.execute(f"CREATE TABLE {table}_kept AS TABLE {table}".encode())
    try:
        yield
    finally:
        restore(database)
        for table in TABLES:
            database.execute(f"DROP TABLE {table}_kept".encode())
        for table, trigger in triggers:
            database.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())


def restore(database: psycopg.Connection) -> None:
    with database.transaction():
        for table in TABLES:
            database.execute(f"DELETE FROM {table}".encode())
            database.execute(f"INSERT INTO {table} SELECT * FROM {table}_kept".encode())


# --- rows -------------------------------------------------------------------------------------

CHANGES = {
    "id": "gen_random_uuid()",
    "id to the end of time": "'ffffffff-ffff-7fff-bfff-ffffffffffff'",
    "creator_id": "gen_random_uuid()",
    "at": "at + interval '1 microsecond'",
    "at to infinity": "'infinity'",
    "type": "type || '.'",
    "request_id": "request_id || ' '",
    "detail": "detail || '{\"float\": 1.10}'",  # it was 1.1
    "detail to nothing": "'{}'",
    "personal_digest": "NULL",
    "personal_digest by a bit": "set_bit(personal_digest, 100, 1 - get_bit(personal_digest, 100))",
    "written_at": "written_at + interval '1 microsecond'",
    "written_at to yesterday": "written_at - interval '1 day'",
    "written_xid": "written_xid + 1",
    "written_xid to the first": "1",
    "written_xid past all seals": "written_xid + 1000000",
}
COPY = "id, creator_id, at, type, request_id, detail, personal_digest"


def change(column: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        (row,) = forger.rows(1)
        forger.run(f"UPDATE audit_logs SET {column.partition(' ')[0]} = {CHANGES[column]} WHERE id = %s", row)
        return {f"row {row}"} | ({"put in"} if column[:2] == "id" else set())

    return tamper


def remove(forger: Forger) -> Names:
    rows = forger.rows(forger.dice.randint(1, 4))
    forger.run("DELETE FROM audit_logs WHERE id = ANY(%s)", rows)
    return {f"row {rows[0]}"}


def put_in_with_the_marks_of_another(forger: Forger) -> Names:
    (row,), (other,) = forger.rows(1), forger.rows(1)
    return _put_in(forger, row, _beside(other), "written_at, written_xid")


def put_in_with_an_old_date(forger: Forger) -> Names:
    (row,) = forger.rows(1)
    return _put_in(forger, row, uuid4() if forger.dice.random() < 0.5 else _beside(row))


def put_in_with_an_old_id(forger: Forger) -> Names:
    (row,) = forger.rows(1)
    return _put_in(forger, row, _beside(row), at="now()")


def put_in_with_a_forged_time_of_writing(forger: Forger) -> Names:
    """And the number of a transaction of today."""
    (row,) = forger.rows(1)
    return _put_in(forger, row, _beside(row), "written_at")


def put_in_right_behind_the_sealed(forger: Forger) -> Names:
    (row,) = forger.rows(1)
    behind = "(SELECT max(written_xid) + 1 FROM audit_logs)"
    return _put_in(forger, row, _beside(row), "written_at, written_xid", written_xid=behind)


def _put_in(forger: Forger, row: UUID, new: UUID, more: str = "", **other: str) -> Names:
    """A copy of a row under another id, with `more` columns than the app may write, or `other` values."""
    columns = [*COPY.split(", "), *filter(None, more.split(", "))]
    values = ["%s", *(other.get(column, column) for column in columns[1:])]
    forger.run(
        f"INSERT INTO audit_logs ({', '.join(columns)}) SELECT {', '.join(values)} FROM audit_logs WHERE id = %s",
        new, row,
    )  # fmt: skip
    return {f"row {new}"}


def _beside(row: UUID) -> UUID:
    """An id of the same millisecond."""
    return UUID(int=row.int ^ random.Random(row.int).getrandbits(40))


def swap(columns: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        one, other = forger.rows(2)
        forger.run(
            f"UPDATE audit_logs SET ({columns}) = (SELECT {columns} FROM audit_logs_kept AS kept "
            "WHERE kept.id = CASE audit_logs.id WHEN %s THEN %s ELSE %s END) WHERE id IN (%s, %s)",
            one, other, one, one, other,
        )  # fmt: skip
        return {f"row {one}", f"row {other}"}

    return tamper


def swap_ids(forger: Forger) -> Names:
    one, other = forger.rows(2)
    for old, new in ((one, UUID(int=1)), (other, one), (UUID(int=1), other)):
        forger.run("UPDATE audit_logs SET id = %s WHERE id = %s", new, old)
    return {f"row {one}", f"row {other}"}


def change_personal_data(expression: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        (row,) = forger.rows(1)
        forger.run(f"UPDATE audit_personal_data SET {expression} WHERE id = %s", row)
        return {f"row {row}"}

    return tamper


# --- seals ------------------------------------------------------------------------------------


def edit_statement(forger: Forger) -> Names:
    (number,) = forger.seals(1)
    (text,) = forger.column("SELECT statement FROM audit_seals WHERE number = %s", number)
    fields = json.loads(text)
    name = forger.dice.choice(sorted(fields))
    fields[name] = "rows" if fields[name] == "key" else "key" if name == "kind" else _other(fields[name])
    edited = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    forger.run("UPDATE audit_seals SET statement = %s WHERE number = %s", edited, number)
    return {f"seal {number}"}


def _other(value: Any) -> Any:
    if isinstance(value, list):
        return [value[0] + 1, value[1]]
    return value + 1 if isinstance(value, int) else f"1{value[1:]}" if value[:1] != "1" else f"2{value[1:]}"


def edit_seal(expression: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        (number,) = forger.seals(1)
        forger.run(f"UPDATE audit_seals SET {expression} WHERE number = %s", number)
        return {f"seal {number}"}

    return tamper


def remove_seals(forger: Forger) -> Names:
    numbers = forger.seals(forger.dice.randint(1, 3))
    forger.run("DELETE FROM audit_seals WHERE number = ANY(%s)", numbers)
    return {f"seal {numbers[0]}", f"seals {numbers[0]}"}


def swap_seals(column: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        one, other = forger.seals(2)
        forger.run(
            f"UPDATE audit_seals SET {column} = (SELECT {column} FROM audit_seals_kept AS kept "
            "WHERE kept.number = %s - audit_seals.number) WHERE number IN (%s, %s)",
            one + other, one, other,
        )  # fmt: skip
        return {f"seal {one}"}

    return tamper


def swap_seal_numbers(forger: Forger) -> Names:
    one, other = forger.seals(2)
    for old, new in ((one, 0), (other, one), (0, other)):
        forger.run("UPDATE audit_seals SET number = %s WHERE number = %s", new, old)
    return {f"seal {one}"}


def put_in_a_seal(forger: Forger) -> Names:
    (number,) = forger.seals(1)
    (last,) = forger.column("SELECT max(number) FROM audit_seals")
    new = forger.dice.choice([last + 1, last + 5, 0, -3])
    forger.run(
        "INSERT INTO audit_seals SELECT %s, statement, signature, leaves FROM audit_seals WHERE number = %s",
        new, number,
    )  # fmt: skip
    return {f"seal {new}", f"seals {last + 1} to {new - 1}"}


def sign_a_seal_anew(forger: Forger) -> Names:
    """With a key of one's own, which stands in the table of keys."""
    (number,) = forger.seals(1)
    own = Ed25519PrivateKey.generate()
    name = own.public_key().public_bytes_raw().hex()
    forger.run("INSERT INTO audit_seal_keys VALUES (%s, 'x', now())", name)
    (text,) = forger.column("SELECT statement FROM audit_seals WHERE number = %s", number)
    forged = json.dumps(json.loads(text) | {"key": name}, sort_keys=True, separators=(",", ":"))
    signature = own.sign(forged.encode())
    forger.run(
        "UPDATE audit_seals SET statement = %s, signature = %s WHERE number = %s", forged, signature, number
    )
    return {f"seal {number + 1}"}  # does not follow


def edit_key(statement: str) -> Callable[[Forger], Names]:
    def tamper(forger: Forger) -> Names:
        forger.run(statement)
        return {"seal "}

    return tamper


KINDS: dict[str, Callable[[Forger], Names]] = {
    **{f"change {column}": change(column) for column in CHANGES},
    "remove": remove,
    "put in with the marks of another": put_in_with_the_marks_of_another,
    "put in with an old date": put_in_with_an_old_date,
    "put in with an old id": put_in_with_an_old_id,
    "put in with a forged time of writing": put_in_with_a_forged_time_of_writing,
    "put in right behind the sealed": put_in_right_behind_the_sealed,
    "swap contents": swap("type, detail, request_id"),
    "swap all but ids": swap("creator_id, at, type, request_id, detail, personal_digest, written_at, written_xid"),
    "swap places": swap("written_xid, written_at"),
    "swap ids": swap_ids,
    **{
        f"personal data: {expression}": change_personal_data(expression)
        for expression in (
            "ip_address = '198.51.100.77'", "user_agent = user_agent || ' '", "email = email || 'x'",
            "salt = sha256(salt)", "creator_id = gen_random_uuid()",
        )
    },
    "edit a statement": edit_statement,
    **{
        f"seal: {expression}": edit_seal(expression)
        for expression in (
            "signature = set_byte(signature, 7, 255 - get_byte(signature, 7))", "signature = ''",
            "leaves = set_byte(leaves, 3, 255 - get_byte(leaves, 3))",
            "leaves = set_byte(leaves, 40, 255 - get_byte(leaves, 40))",
            "leaves = substr(leaves, 49)", "leaves = leaves || leaves", "leaves = leaves || 'x'",
            "leaves = substr(leaves, 49, 48) || substr(leaves, 1, 48) || substr(leaves, 97)",
            "statement = ' ' || statement", "statement = '{}'", "statement = '[]'", "number = number + 1000",
        )
    },
    "remove seals": remove_seals,
    **{f"swap {column} of seals": swap_seals(column) for column in ("statement", "signature", "leaves")},
    "swap seals": swap_seal_numbers,
    "put in a seal": put_in_a_seal,
    "sign a seal anew": sign_a_seal_anew,
    "remove the keys": edit_key("DELETE FROM audit_seal_keys"),
    "change the keys": edit_key("UPDATE audit_seal_keys SET public_key = reverse(public_key)"),
    "change the private half": edit_key("UPDATE audit_seal_keys SET private_key = 'x'"),
}  # fmt: skip


@pytest.fixture
def sealed(
    at_once: None, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """A book of 60 rows under ten seals, with its guards off."""
    monkeypatch.setattr(sealer, "BATCH", 6)
    record_some(60)
    for _ in range(3):  # transactions that write nothing into the book
        superuser.execute("SELECT pg_current_xact_id()")
    with using_alias(OPERATOR):
        assert sealer.seal_new_rows() >= 60
    assert verify() == []
    with unguarded(superuser):
        yield superuser


def tamper(database: psycopg.Connection, kind: str, seed: int) -> str:
    """Do it, look, and undo it; returns what is wrong with the findings, if anything."""
    expected = KINDS[kind](Forger(database, seed))
    found = verify()
    restore(database)
    if found and any(name in found[0] for name in expected):
        return ""
    return f"{kind} ({seed}): {expected} is not first in {found}"
