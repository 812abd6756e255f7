"""Changes that the owner of the tables could make to sealed rows and to seals after disabling the triggers."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.sealing import verifier
from tenancy.context import OPERATOR, using_alias

TABLES = ("audit_logs", "audit_personal_data", "audit_seals", "audit_seal_keys")
ADDRESSES = ("203.0.113.9", "2001:db8::a1", "::102:304", None)
Names = set[str]  # the first finding must contain one of them


class Attacker:
    """Writes to every table. The seed decides which rows and seals are changed."""

    def __init__(self, database: psycopg.Connection, seed: int) -> None:
        self.database, self.random = database, random.Random(seed)

    def run(self, statement: str, *values: Any) -> None:
        cursor = self.database.execute(statement.encode(), values or None)
        assert cursor.rowcount, statement

    def column(self, query: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.database.execute(query.encode(), values or None)]

    def rows(self, count: int) -> list[UUID]:
        """Random sealed rows, in the order of sealing."""
        ids = self.column("SELECT id FROM audit_logs ORDER BY written_xid, id")
        return [ids[index] for index in sorted(self.random.sample(range(len(ids)), count))]

    def seals(self, count: int) -> list[int]:
        """Random seals, in order. Never the last: a chain can't show that its end is missing."""
        numbers = self.column("SELECT number FROM audit_seals ORDER BY number")[:-1]
        return sorted(self.random.sample(numbers, count))


def record_events(count: int) -> None:
    """Record events of two tenants and of none, with various client data."""
    tenants = (uuid4(), uuid4(), None)
    for number in range(count):
        client = ClientInfo(ADDRESSES[number % 4], 'Fire"fox\\ ä\x7f', f"request-{number}")
        email = "ä@example.com" if number % 2 else ""
        kinds = {"number": number, "float": 1.1, "text": "ä\u2028", "nested": {"b": [None, True]}}
        record(list(Event)[number % 9], client=client, creator_id=tenants[number % 3], email=email, **kinds)


def verify(*exported: Any) -> list[str]:
    """All findings, as the operator."""
    with using_alias(OPERATOR):
        return list(verifier.verify(verifier.Summary(), exported))


@contextmanager
def unguarded(database: psycopg.Connection) -> Iterator[None]:
    """Disable the triggers; afterwards restore all rows."""
    triggers = database.execute(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'audit%' ORDER BY tgparentid"
    ).fetchall()
    for table, trigger in triggers:
        database.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
    for table in TABLES:
        database.execute(f"CREATE TABLE {table}_backup AS TABLE {table}".encode())
    try:
        yield
    finally:
        restore(database)
        for table in TABLES:
            database.execute(f"DROP TABLE {table}_backup".encode())
        for table, trigger in triggers:
            database.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())


def restore(database: psycopg.Connection) -> None:
    with database.transaction():
        for table in TABLES:
            database.execute(f"DELETE FROM {table}".encode())
            database.execute(f"INSERT INTO {table} SELECT * FROM {table}_backup".encode())


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


def change(column: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        (row,) = attacker.rows(1)
        attacker.run(
            f"UPDATE audit_logs SET {column.partition(' ')[0]} = {CHANGES[column]} WHERE id = %s", row
        )
        return {f"row {row}"} | ({"inserted"} if column[:2] == "id" else set())

    return tamper


def remove(attacker: Attacker) -> Names:
    rows = attacker.rows(attacker.random.randint(1, 4))
    attacker.run("DELETE FROM audit_logs WHERE id = ANY(%s)", rows)
    return {f"row {rows[0]}"}


def insert_with_the_position_of_another(attacker: Attacker) -> Names:
    (row,), (other,) = attacker.rows(1), attacker.rows(1)
    return _insert(attacker, row, _id_near(other), "written_at, written_xid")


def insert_with_an_old_date(attacker: Attacker) -> Names:
    (row,) = attacker.rows(1)
    return _insert(attacker, row, uuid4() if attacker.random.random() < 0.5 else _id_near(row))


def insert_with_an_old_id(attacker: Attacker) -> Names:
    (row,) = attacker.rows(1)
    return _insert(attacker, row, _id_near(row), at="now()")


def insert_with_a_forged_written_at(attacker: Attacker) -> Names:
    """With its real transaction number."""
    (row,) = attacker.rows(1)
    return _insert(attacker, row, _id_near(row), "written_at")


def insert_directly_after_the_sealed(attacker: Attacker) -> Names:
    (row,) = attacker.rows(1)
    following = "(SELECT max(written_xid) + 1 FROM audit_logs)"
    return _insert(attacker, row, _id_near(row), "written_at, written_xid", written_xid=following)


def _insert(attacker: Attacker, row: UUID, new: UUID, more: str = "", **other: str) -> Names:
    """Copy a row under another id. `more` are further columns to copy, `other` the values to replace."""
    columns = [*COPY.split(", "), *filter(None, more.split(", "))]
    values = ["%s", *(other.get(column, column) for column in columns[1:])]
    attacker.run(
        f"INSERT INTO audit_logs ({', '.join(columns)}) SELECT {', '.join(values)} FROM audit_logs WHERE id = %s",
        new, row,
    )  # fmt: skip
    return {f"row {new}"}


def _id_near(row: UUID) -> UUID:
    """Another id of the same millisecond."""
    return UUID(int=row.int ^ random.Random(row.int).getrandbits(40))


def swap(columns: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        one, other = attacker.rows(2)
        attacker.run(
            f"UPDATE audit_logs SET ({columns}) = (SELECT {columns} FROM audit_logs_backup AS backup "
            "WHERE backup.id = CASE audit_logs.id WHEN %s THEN %s ELSE %s END) WHERE id IN (%s, %s)",
            one, other, one, one, other,
        )  # fmt: skip
        return {f"row {one}", f"row {other}"}

    return tamper


def swap_ids(attacker: Attacker) -> Names:
    one, other = attacker.rows(2)
    for old, new in ((one, UUID(int=1)), (other, one), (UUID(int=1), other)):
        attacker.run("UPDATE audit_logs SET id = %s WHERE id = %s", new, old)
    return {f"row {one}", f"row {other}"}


def change_personal_data(expression: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        (row,) = attacker.rows(1)
        attacker.run(f"UPDATE audit_personal_data SET {expression} WHERE id = %s", row)
        return {f"row {row}"}

    return tamper


# --- seals ------------------------------------------------------------------------------------


def edit_statement(attacker: Attacker) -> Names:
    (number,) = attacker.seals(1)
    (text,) = attacker.column("SELECT statement FROM audit_seals WHERE number = %s", number)
    fields = json.loads(text)
    name = attacker.random.choice(sorted(fields))
    fields[name] = "rows" if fields[name] == "key" else "key" if name == "kind" else _other(fields[name])
    edited = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    attacker.run("UPDATE audit_seals SET statement = %s WHERE number = %s", edited, number)
    return {f"seal {number}"}


def _other(value: Any) -> Any:
    if isinstance(value, list):
        return [value[0] + 1, value[1]]
    return value + 1 if isinstance(value, int) else f"1{value[1:]}" if value[:1] != "1" else f"2{value[1:]}"


def edit_seal(expression: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        (number,) = attacker.seals(1)
        attacker.run(f"UPDATE audit_seals SET {expression} WHERE number = %s", number)
        return {f"seal {number}"}

    return tamper


def remove_seals(attacker: Attacker) -> Names:
    numbers = attacker.seals(attacker.random.randint(1, 3))
    attacker.run("DELETE FROM audit_seals WHERE number = ANY(%s)", numbers)
    return {f"seal {numbers[0]}", f"seals {numbers[0]}"}


def swap_seals(column: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        one, other = attacker.seals(2)
        attacker.run(
            f"UPDATE audit_seals SET {column} = (SELECT {column} FROM audit_seals_backup AS backup "
            "WHERE backup.number = %s - audit_seals.number) WHERE number IN (%s, %s)",
            one + other, one, other,
        )  # fmt: skip
        return {f"seal {one}"}

    return tamper


def swap_seal_numbers(attacker: Attacker) -> Names:
    one, other = attacker.seals(2)
    for old, new in ((one, 0), (other, one), (0, other)):
        attacker.run("UPDATE audit_seals SET number = %s WHERE number = %s", new, old)
    return {f"seal {one}"}


def insert_a_seal(attacker: Attacker) -> Names:
    (number,) = attacker.seals(1)
    (last,) = attacker.column("SELECT max(number) FROM audit_seals")
    new = attacker.random.choice([last + 1, last + 5, 0, -3])
    attacker.run(
        "INSERT INTO audit_seals SELECT %s, statement, signature, leaves FROM audit_seals WHERE number = %s",
        new, number,
    )  # fmt: skip
    return {f"seal {new}", f"seals {last + 1} to {new - 1}"}


def sign_a_seal_again(attacker: Attacker) -> Names:
    """With a new key that is added to the table of keys."""
    (number,) = attacker.seals(1)
    key = Ed25519PrivateKey.generate()
    name = key.public_key().public_bytes_raw().hex()
    attacker.run("INSERT INTO audit_seal_keys VALUES (%s, 'x', now())", name)
    (text,) = attacker.column("SELECT statement FROM audit_seals WHERE number = %s", number)
    forged = json.dumps(json.loads(text) | {"key": name}, sort_keys=True, separators=(",", ":"))
    signature = key.sign(forged.encode())
    attacker.run(
        "UPDATE audit_seals SET statement = %s, signature = %s WHERE number = %s", forged, signature, number
    )
    return {f"seal {number + 1}"}  # it does not follow the forged one


def edit_key(statement: str) -> Callable[[Attacker], Names]:
    def tamper(attacker: Attacker) -> Names:
        attacker.run(statement)
        return {"seal "}

    return tamper


TAMPERINGS: dict[str, Callable[[Attacker], Names]] = {
    **{f"change {column}": change(column) for column in CHANGES},
    "remove": remove,
    "insert with the position of another": insert_with_the_position_of_another,
    "insert with an old date": insert_with_an_old_date,
    "insert with an old id": insert_with_an_old_id,
    "insert with a forged written_at": insert_with_a_forged_written_at,
    "insert directly after the sealed": insert_directly_after_the_sealed,
    "swap contents": swap("type, detail, request_id"),
    "swap all but ids": swap("creator_id, at, type, request_id, detail, personal_digest, written_at, written_xid"),
    "swap positions": swap("written_xid, written_at"),
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
    "insert a seal": insert_a_seal,
    "sign a seal again": sign_a_seal_again,
    "remove the keys": edit_key("DELETE FROM audit_seal_keys"),
    "change the keys": edit_key("UPDATE audit_seal_keys SET public_key = reverse(public_key)"),
    "change the private half": edit_key("UPDATE audit_seal_keys SET private_key = 'x'"),
}  # fmt: skip


def tamper(database: psycopg.Connection, name: str, seed: int) -> str:
    """Tamper, verify and restore; returns what is wrong with the findings, if anything."""
    expected = TAMPERINGS[name](Attacker(database, seed))
    findings = verify()
    restore(database)
    if findings and any(text in findings[0] for text in expected):
        return ""
    return f"{name} ({seed}): {expected} is not first in {findings}"
