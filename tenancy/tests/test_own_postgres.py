"""The set-up of docs/operations.md on Debian's PostgreSQL."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = max(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), default=None)
DATABASE = "o'hara's house"

pytestmark = [
    pytest.mark.no_database,
    pytest.mark.slow,
    pytest.mark.skipif(
        PROGRAMS is None or not (PROGRAMS / "initdb").exists() or os.geteuid() != 0,
        reason="needs Debian's postgresql, and root to run it as its user",
    ),
]


def as_postgres(*command: Any, **options: Any) -> Any:
    user = pwd.getpwnam("postgres")
    done = subprocess.run(
        [str(PROGRAMS / command[0]), *map(str, command[1:])],
        user=user.pw_uid, group=user.pw_gid, cwd="/", env={"PATH": os.environ["PATH"]}, timeout=60,
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def server() -> Iterator[Path]:
    """The directory of the socket of a server as Debian sets it up: peer for its user, passwords for others."""
    place = Path(tempfile.mkdtemp(prefix="auth-test-"))
    shutil.chown(place, "postgres")
    place.chmod(0o755)
    as_postgres("initdb", "-D", place / "data", "--auth=peer", "--locale=C.UTF-8")
    rules = "local all postgres peer\nlocal all all scram-sha-256\n"
    (place / "data" / "pg_hba.conf").write_text(rules)
    options = f"-c listen_addresses='' -k {place} -c fsync=off"
    as_postgres("pg_ctl", "-D", place / "data", "-l", place / "log", "-o", options, "-w", "start")
    yield place
    as_postgres("pg_ctl", "-D", place / "data", "-m", "immediate", "stop")
    shutil.rmtree(place)


@pytest.mark.parametrize("somebody_made_it", [False, True])
def test_role_sql_migrate_and_check_isolation(server: Path, *, somebody_made_it: bool) -> None:
    host, name = quote(str(server), safe=""), quote(DATABASE, safe="")
    urls = {
        f"{variable}DATABASE_URL": f"postgres://auth_{role}:{role}-s-%25-secret@{host}/{name}"
        for variable, role in {"": "app", "OPERATOR_": "operator", "OWNER_": "owner"}.items()
    }

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *arguments], cwd=ROOT, env=os.environ | urls,
            timeout=120, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    if somebody_made_it:
        as_postgres("createdb", "-h", server, "-T", "template0", "-E", "UTF8", DATABASE)
    statements = manage("role_sql")
    assert "secret" not in statements
    psql = ("psql", "-h", server, "-v", "ON_ERROR_STOP=1", "-d", "postgres")
    as_postgres(*psql, input=statements)
    manage("migrate", "--verbosity=0")
    as_postgres(*psql, input=statements)  # a second time mends and breaks nothing
    assert "no issues" in manage("check", "--database", "default")
    assert manage("check_isolation").endswith("Tenants are isolated.\n")
