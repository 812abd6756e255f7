"""The commands: what a person reads, what exit says, and what seals kept elsewhere are good for."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.events import Event
from audit.models import SealKey
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.sealing import keys, sealer
from audit.tests.support.tampering import at_once, record_some, unguarded
from tenancy.context import OPERATOR, using_alias

__all__ = ["at_once"]


@pytest.fixture(autouse=True)
def sealed(at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve rows under at least three seals."""
    monkeypatch.setattr(sealer, "BATCH", 4)
    record_some(12)
    run("seal_audit")


@pytest.fixture
def open_book(superuser: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with unguarded(superuser):
        yield superuser


@pytest.fixture
def exported(tmp_path: Path) -> str:
    path = tmp_path / "seals.jsonl"
    path.write_text(run("export_seals"))
    return str(path)


def run(command: str, *words: str) -> str:
    output = io.StringIO()
    call_command(command, *words, stdout=output, no_color=True)
    return output.getvalue()


def broken(*words: str) -> list[str]:
    """What the command finds; it exits 1."""
    output = io.StringIO()
    with pytest.raises(CommandError, match="the book is not as it was sealed") as raised:
        call_command("verify_audit", *words, stdout=output, no_color=True)
    assert raised.value.returncode == 1
    return output.getvalue().splitlines()


def test_book_that_holds_is_told_in_four_lines(superuser: psycopg.Connection) -> None:
    (rows,) = superuser.execute("SELECT count(*) FROM audit_logs").fetchone() or ()
    record_some(2)
    counts, waiting, verdict = run("verify_audit").splitlines()
    assert counts.startswith(f"{rows} rows under {-(-rows // 4)} seals were verified in ")
    assert waiting == "2 rows are not sealed yet, the oldest since 0 s."
    assert verdict == "The book is as it was sealed."


def test_empty_book_holds(open_book: psycopg.Connection) -> None:
    for table in ("audit_seals", "audit_logs"):
        open_book.execute(f"DELETE FROM {table}".encode())
    assert "0 rows under 0 seals" in run("verify_audit")


def test_first_of_what_is_broken_is_named_first(open_book: psycopg.Connection) -> None:
    ids = [id_ for (id_,) in open_book.execute("SELECT id FROM audit_logs ORDER BY written_xid, id")]
    open_book.execute("UPDATE audit_logs SET type = 'x' WHERE id IN (%s, %s)", [ids[3], ids[8]])
    open_book.execute("DELETE FROM audit_logs WHERE id = %s", [ids[6]])
    found = broken()
    assert [line.split()[2] for line in found] == [str(ids[place]) for place in (3, 6, 8)]
    day = f"{timezone.now():%Y-%m-%d}"
    assert found[0].startswith(f"BROKEN  row {ids[3]} of {day} ")
    assert found[0].endswith("UTC was changed after seal 1")
    assert "was removed after seal 2" in found[1]


def test_row_that_was_moved_is_not_called_removed(open_book: psycopg.Connection) -> None:
    (row,) = open_book.execute("SELECT id FROM audit_logs ORDER BY written_xid, id").fetchone() or ()
    open_book.execute("UPDATE audit_logs SET written_xid = written_xid + 1000000 WHERE id = %s", [row])
    found, *_ = broken()
    assert f"row {row} of " in found
    assert found.endswith("was changed after seal 1")


def test_search_ends_when_enough_is_found(open_book: psycopg.Connection) -> None:
    record_some(20)
    run("seal_audit")
    open_book.execute("UPDATE audit_logs SET request_id = 'x'")
    assert len(broken()) == 20


# --- seals that were kept elsewhere -----------------------------------------------------------


def test_exported_seals_are_found_again(exported: str) -> None:
    assert run("verify_audit", "--against", exported)
    record_some(3)
    run("seal_audit")
    assert run("verify_audit", "--against", exported)


def test_export_goes_on_where_it_ended(exported: str) -> None:
    last = len(Path(exported).read_text().splitlines())
    assert run("export_seals", "--after", str(last)) == ""
    record_some(3)
    run("seal_audit")
    (line,) = run("export_seals", "--after", str(last)).splitlines()
    assert json.loads(json.loads(line)["statement"])["number"] == last + 1
    with Path(exported).open("a") as file:
        file.write(line + "\n")
    assert run("verify_audit", "--against", exported)


def test_cut_off_end_shows_against_exported_seals(exported: str, open_book: psycopg.Connection) -> None:
    (last,) = open_book.execute("SELECT max(number) FROM audit_seals").fetchone() or ()
    open_book.execute("DELETE FROM audit_seals WHERE number = %s", [last])
    open_book.execute("DELETE FROM audit_logs WHERE id = (SELECT max(id::text)::uuid FROM audit_logs)")
    assert run("verify_audit")
    (found,) = broken("--against", exported)
    assert found == f"BROKEN  seal {last} and what followed is missing: the end was cut off"


def test_chain_that_was_made_anew_with_the_stolen_key_shows_too(
    exported: str, open_book: psycopg.Connection
) -> None:
    open_book.execute("DELETE FROM audit_seals WHERE number >= 2")
    open_book.execute("DELETE FROM audit_logs WHERE id = (SELECT max(id::text)::uuid FROM audit_logs)")
    run("seal_audit")
    assert run("verify_audit")
    (found,) = broken("--against", exported)
    assert found == "BROKEN  seal 2 is not the one that was exported"


def test_chain_of_another_key_is_nobodys(open_book: psycopg.Connection, settings: Any) -> None:
    """Somebody who has the tables and not SECRET_KEY."""
    open_book.execute("DELETE FROM audit_seals")
    open_book.execute("DELETE FROM audit_seal_keys")
    own = settings.SECRET_KEY
    settings.SECRET_KEY = "Mallory's " * 5
    run("seal_audit")
    settings.SECRET_KEY = own
    (found,) = broken()
    assert "the newest, has a key that SECRET_KEY does not open" in found


def test_private_half_of_another_key_opens_nothing(open_book: psycopg.Connection) -> None:
    with using_alias(OPERATOR):
        other = keys.make_key()
        stored = SealKey.objects.get(public_key=keys.name_of(other)).private_key
    open_book.execute("UPDATE audit_seal_keys SET private_key = %s", [bytes(stored)])
    open_book.execute("DELETE FROM audit_seal_keys WHERE public_key = %s", [keys.name_of(other)])
    (found,) = broken()
    assert "SECRET_KEY does not open" in found


@pytest.mark.parametrize("text", ["{}", "[]", "rubbish", '{"statement": "{}", "signature": ""}', "\x00"])
def test_file_that_is_no_export_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "seals.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(CommandError, match="what follows seal 0 is not what export_seals prints"):
        run("verify_audit", "--against", str(path))
    with pytest.raises(CommandError, match="No such file"):
        run("verify_audit", "--against", str(tmp_path / "none"))


def test_empty_file_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "seals.jsonl").touch()
    with pytest.raises(CommandError, match="no seal in it"):
        run("verify_audit", "--against", str(tmp_path / "seals.jsonl"))


def test_chain_without_an_end_is_told_by_what_waits(open_book: psycopg.Connection) -> None:
    for table in ("audit_seals", "audit_seal_keys"):
        open_book.execute(f"DELETE FROM {table}".encode())
    open_book.execute("UPDATE audit_logs SET written_at = now() - interval '1 hour'")
    assert "the end of the chain was cut off" in run("verify_audit")


def test_file_in_disorder_is_told(exported: str) -> None:
    lines = Path(exported).read_text().splitlines()
    Path(exported).write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(CommandError, match="seal 1 comes after seal"):
        run("verify_audit", "--against", exported)


# --- keys -------------------------------------------------------------------------------------


def test_key_is_changed_by_command() -> None:
    told = run("rotate_seal_key")
    record(Event.LOGIN_FAILED, client=ClientInfo())
    run("seal_audit")
    name = told.split()[0]
    last = json.loads(run("export_seals").splitlines()[-1])
    assert json.loads(last["statement"])["key"] == name
    assert "as it was sealed" in run("verify_audit")


def test_sealing_by_hand_names_a_locked_key(settings: Any) -> None:
    settings.SECRET_KEY = "of another house " * 4
    record(Event.LOGIN_FAILED, client=ClientInfo())
    with pytest.raises(CommandError, match="rotate_seal_key"):
        run("seal_audit")
