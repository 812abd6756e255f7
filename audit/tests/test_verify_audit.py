"""The commands: their output and exit status, and comparison with exported seals."""

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
from audit.tests.support.tampering import record_events, unguarded
from tenancy.context import OPERATOR, using_alias


@pytest.fixture(autouse=True)
def sealed(seal_immediately: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve rows under at least three seals."""
    monkeypatch.setattr(sealer, "BATCH_SIZE", 4)
    record_events(12)
    run("seal_audit")


@pytest.fixture
def unguarded_log(superuser: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with unguarded(superuser):
        yield superuser


@pytest.fixture
def exported(tmp_path: Path) -> str:
    path = tmp_path / "seals.jsonl"
    path.write_text(run("export_seals"))
    return str(path)


def run(command: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output, no_color=True)
    return output.getvalue()


def findings(*arguments: str) -> list[str]:
    """The findings of the command, which exits 1."""
    output = io.StringIO()
    with pytest.raises(CommandError, match="does not match its seals") as raised:
        call_command("verify_audit", *arguments, stdout=output, no_color=True)
    assert raised.value.returncode == 1
    return output.getvalue().splitlines()


def test_matching_log_is_reported_in_three_lines(superuser: psycopg.Connection) -> None:
    (rows,) = superuser.execute("SELECT count(*) FROM audit_logs").fetchone() or ()
    record_events(2)
    counts, unsealed, result = run("verify_audit").splitlines()
    assert counts.startswith(f"{rows} rows under {-(-rows // 4)} seals were verified in ")
    assert unsealed == "2 rows are not sealed yet, the oldest for 0 s."
    assert result == "The audit log matches its seals."


def test_empty_log_matches(unguarded_log: psycopg.Connection) -> None:
    for table in ("audit_seals", "audit_logs"):
        unguarded_log.execute(f"DELETE FROM {table}".encode())
    assert "0 rows under 0 seals" in run("verify_audit")


def test_first_broken_row_is_named_first(unguarded_log: psycopg.Connection) -> None:
    ids = [id_ for (id_,) in unguarded_log.execute("SELECT id FROM audit_logs ORDER BY written_xid, id")]
    unguarded_log.execute("UPDATE audit_logs SET type = 'x' WHERE id IN (%s, %s)", [ids[3], ids[8]])
    unguarded_log.execute("DELETE FROM audit_logs WHERE id = %s", [ids[6]])
    found = findings()
    assert [line.split()[2] for line in found] == [str(ids[index]) for index in (3, 6, 8)]
    day = f"{timezone.now():%Y-%m-%d}"
    assert found[0].startswith(f"BROKEN  row {ids[3]} of {day} ")
    assert found[0].endswith("UTC was changed after seal 1")
    assert "was removed after seal 2" in found[1]


def test_moved_row_is_called_changed(unguarded_log: psycopg.Connection) -> None:
    (row,) = unguarded_log.execute("SELECT id FROM audit_logs ORDER BY written_xid, id").fetchone() or ()
    unguarded_log.execute("UPDATE audit_logs SET written_xid = written_xid + 1000000 WHERE id = %s", [row])
    finding, *_ = findings()
    assert f"row {row} of " in finding
    assert finding.endswith("was changed after seal 1")


def test_command_stops_after_20_findings(unguarded_log: psycopg.Connection) -> None:
    record_events(20)
    run("seal_audit")
    unguarded_log.execute("UPDATE audit_logs SET request_id = 'x'")
    assert len(findings()) == 20


# --- exported seals -------------------------------------------------------------------------


def test_log_matches_its_exported_seals(exported: str) -> None:
    assert run("verify_audit", "--against", exported)
    record_events(3)
    run("seal_audit")
    assert run("verify_audit", "--against", exported)


def test_export_continues_after_a_number(exported: str) -> None:
    last = len(Path(exported).read_text().splitlines())
    assert run("export_seals", "--after", str(last)) == ""
    record_events(3)
    run("seal_audit")
    (line,) = run("export_seals", "--after", str(last)).splitlines()
    assert json.loads(json.loads(line)["statement"])["number"] == last + 1
    with Path(exported).open("a") as file:
        file.write(line + "\n")
    assert run("verify_audit", "--against", exported)


def test_exported_seals_reveal_a_missing_end(exported: str, unguarded_log: psycopg.Connection) -> None:
    (last,) = unguarded_log.execute("SELECT max(number) FROM audit_seals").fetchone() or ()
    unguarded_log.execute("DELETE FROM audit_seals WHERE number = %s", [last])
    unguarded_log.execute("DELETE FROM audit_logs WHERE id = (SELECT max(id::text)::uuid FROM audit_logs)")
    assert run("verify_audit")
    (finding,) = findings("--against", exported)
    assert finding == f"BROKEN  seal {last} and all later seals are missing: the end of the chain was cut off"


def test_exported_seals_reveal_a_chain_written_again(
    exported: str, unguarded_log: psycopg.Connection
) -> None:
    unguarded_log.execute("DELETE FROM audit_seals WHERE number >= 2")
    unguarded_log.execute("DELETE FROM audit_logs WHERE id = (SELECT max(id::text)::uuid FROM audit_logs)")
    run("seal_audit")
    assert run("verify_audit")
    (finding,) = findings("--against", exported)
    assert finding == "BROKEN  seal 2 differs from the exported one"


def test_chain_under_another_secret_key_is_reported(unguarded_log: psycopg.Connection, settings: Any) -> None:
    """Mallory can write to the tables but does not know SECRET_KEY."""
    unguarded_log.execute("DELETE FROM audit_seals")
    unguarded_log.execute("DELETE FROM audit_seal_keys")
    secret_key = settings.SECRET_KEY
    settings.SECRET_KEY = "Mallory's " * 5
    run("seal_audit")
    settings.SECRET_KEY = secret_key
    (finding,) = findings()
    assert "the newest, has a key that SECRET_KEY does not decrypt" in finding


def test_private_key_of_another_public_key_is_reported(unguarded_log: psycopg.Connection) -> None:
    with using_alias(OPERATOR):
        other = keys.create_key()
        stored = SealKey.objects.get(public_key=keys.public_key_of(other)).private_key
    unguarded_log.execute("UPDATE audit_seal_keys SET private_key = %s", [bytes(stored)])
    unguarded_log.execute("DELETE FROM audit_seal_keys WHERE public_key = %s", [keys.public_key_of(other)])
    (finding,) = findings()
    assert "SECRET_KEY does not decrypt" in finding


@pytest.mark.parametrize("text", ["{}", "[]", "rubbish", '{"statement": "{}", "signature": ""}', "\x00"])
def test_file_that_is_no_export_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "seals.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(CommandError, match="the line after seal 0 was not printed by export_seals"):
        run("verify_audit", "--against", str(path))
    with pytest.raises(CommandError, match="No such file"):
        run("verify_audit", "--against", str(tmp_path / "none"))


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seals.jsonl").touch()
    with pytest.raises(CommandError, match="the file contains no seal"):
        run("verify_audit", "--against", str(tmp_path / "seals.jsonl"))


def test_old_unsealed_rows_raise_a_warning(unguarded_log: psycopg.Connection) -> None:
    for table in ("audit_seals", "audit_seal_keys"):
        unguarded_log.execute(f"DELETE FROM {table}".encode())
    unguarded_log.execute("UPDATE audit_logs SET written_at = now() - interval '1 hour'")
    assert "the end of the chain was cut off" in run("verify_audit")


def test_unordered_file_is_refused(exported: str) -> None:
    lines = Path(exported).read_text().splitlines()
    Path(exported).write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(CommandError, match="seal 1 comes after seal"):
        run("verify_audit", "--against", exported)


# --- keys -------------------------------------------------------------------------------------


def test_command_rotates_the_key() -> None:
    name = run("rotate_seal_key").split()[0]
    record(Event.LOGIN_FAILED, client=ClientInfo())
    run("seal_audit")
    last = json.loads(run("export_seals").splitlines()[-1])
    assert json.loads(last["statement"])["key"] == name
    assert "matches its seals" in run("verify_audit")


def test_seal_command_names_the_remedy_for_a_locked_key(settings: Any) -> None:
    settings.SECRET_KEY = "of another service " * 4
    record(Event.LOGIN_FAILED, client=ClientInfo())
    with pytest.raises(CommandError, match="rotate_seal_key"):
        run("seal_audit")
