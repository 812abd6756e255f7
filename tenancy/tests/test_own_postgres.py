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
DATABASE = "o'hara's shop"

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
    result = subprocess.run(
        [str(PROGRAMS / command[0]), *map(str, command[1:])],
        user=user.pw_uid, group=user.pw_gid, cwd="/", env={"PATH": os.environ["PATH"]}, timeout=60,
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture
def server() -> Iterator[Path]:
    """The socket directory of a server with Debian's rules: peer for its superuser, passwords for others."""
    directory = Path(tempfile.mkdtemp(prefix="auth-test-"))
    shutil.chown(directory, "postgres")
    directory.chmod(0o755)
    as_postgres("initdb", "-D", directory / "data", "--auth=peer", "--locale=C.UTF-8")
    rules = "local all postgres peer\nlocal all all scram-sha-256\n"
    (directory / "data" / "pg_hba.conf").write_text(rules)
    options = f"-c listen_addresses='' -k {directory} -c fsync=off"
    as_postgres("pg_ctl", "-D", directory / "data", "-l", directory / "log", "-o", options, "-w", "start")
    yield directory
    as_postgres("pg_ctl", "-D", directory / "data", "-m", "immediate", "stop")
    shutil.rmtree(directory)


@pytest.mark.parametrize("exists", [False, True])
def test_role_sql_migrate_and_check_isolation(server: Path, *, exists: bool) -> None:
    host, name = quote(str(server), safe=""), quote(DATABASE, safe="")
    urls = {
        f"{variable}DATABASE_URL": f"postgres://auth_{role}:{role}-s-%25-secret@{host}/{name}"
        for variable, role in {"": "app", "OPERATOR_": "operator", "OWNER_": "owner"}.items()
    }

    def manage(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *arguments], cwd=ROOT, env=os.environ | urls,
            timeout=120, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    if exists:
        as_postgres("createdb", "-h", server, "-T", "template0", "-E", "UTF8", DATABASE)
    statements = manage("role_sql")
    assert "secret" not in statements
    psql = ("psql", "-h", server, "-v", "ON_ERROR_STOP=1", "-d", "postgres")
    as_postgres(*psql, input=statements)
    manage("migrate", "--verbosity=0")
    as_postgres(*psql, input=statements)  # running it again changes nothing
    assert "no issues" in manage("check", "--database", "default")
    assert manage("check_isolation").endswith("Tenants are isolated.\n")
