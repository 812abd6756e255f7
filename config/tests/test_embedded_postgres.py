"""The embedded PostgreSQL: who can connect, and how it starts and stops."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config.launcher.postgres import files, system_user
from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.files import fingerprint, private_directory
from config.launcher.postgres.postmaster import recorded_pid, runs_in
from config.launcher.postgres.system_user import PostgresError, SystemUser
from config.launcher.process import wait_until
from tenancy.roles import Roles

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROLES = Roles.of("auth")
PARENT = """
import pathlib, sys, time
from config.launcher.postgres.cluster import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1]), settings={"fsync": "off"}) as server:
    print(server.pid, server._child._guard.pid, flush=True)
    time.sleep(60)
"""
requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@contextlib.contextmanager
def reachable_directory() -> Iterator[Path]:
    """A directory that the server's user can enter; those of pytest are closed to other users."""
    directory = Path(tempfile.mkdtemp(prefix="auth-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def directory() -> Iterator[Path]:
    with reachable_directory() as directory:
        yield directory


@pytest.fixture
def state(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces the directory under /var/lib."""
    monkeypatch.setattr(files, "STATE", directory / "state")
    return directory / "state"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with reachable_directory() as directory, running(directory / "postgres") as server:
        server.ensure_database("auth", ROLES)
        yield server


def running(directory: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, settings=FAST)


def fetch_value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


@contextlib.contextmanager
def parent_process(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Another process that runs a server; yields the process, the server's pid and the guard's pid."""
    command = [sys.executable, "-c", PARENT, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server, guard = map(int, process.stdout.readline().split())
        try:
            yield process, server, guard
        finally:
            process.kill()


@pytest.mark.parametrize("role", [*ROLES.logins(), "postgres"])
def test_each_role_needs_its_own_password(server: EmbeddedPostgres, role: str) -> None:
    url = server.url(role)
    assert fetch_value(url, "SELECT current_user") == role
    password = (server.home / "passwords" / role).read_text()
    for wrong in ("", "guess"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(password, wrong), passfile="/dev/null")


def test_the_socket_is_the_only_way_in(server: EmbeddedPostgres) -> None:
    superuser = server.superuser_url()
    assert fetch_value(superuser, "SHOW listen_addresses") == ""
    assert (
        fetch_value(superuser, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'")
        == 0
    )
    assert server.socket_directory.stat().st_mode & 0o077 == 0


def test_collation_and_timezone_do_not_depend_on_the_machine(server: EmbeddedPostgres) -> None:
    assert (
        fetch_value(server.url("auth_app"), "SELECT datlocale FROM pg_database WHERE datname = 'auth'")
        == "C.UTF-8"
    )
    assert fetch_value(server.url("auth_app"), "SELECT lower('ÅNGSTRÖM')") == "ångström"
    assert fetch_value(server.url("auth_app"), "SHOW timezone") == "UTC"


def test_a_failed_statement_logs_no_values(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("auth_owner"), autocommit=True) as connection:
        connection.execute("CREATE TABLE members (email text PRIMARY KEY)")
        connection.execute("INSERT INTO members VALUES ('ada@example.com')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO members VALUES ('ada@example.com')")
    log = server.log_file.read_text()
    assert "members_pkey" in log
    assert "ada@example.com" not in log
    assert server.log_file.stat().st_mode & 0o077 == 0


def test_a_second_start_keeps_data_and_passwords(directory: Path) -> None:
    with running(directory / "postgres") as first:
        first.ensure_database("auth", ROLES)
        url = first.url("auth_owner")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept ()")
    with running(directory / "postgres") as second:
        second.ensure_database("auth", ROLES)
        assert second.url("auth_owner") == url
        assert fetch_value(url, "SELECT count(*) FROM kept") == 0


def test_a_directory_in_use_is_refused(server: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError, match="in use"):
        running(server.directory).start()
    assert fetch_value(server.superuser_url(), "SELECT 1") == 1


def test_a_server_ends_with_its_killed_parent(directory: Path) -> None:
    with parent_process(directory / "postgres") as (process, pid, _):
        process.kill()
        assert wait_until(lambda: not runs_in(pid, directory / "postgres" / "data"), within=10)


def test_a_leftover_server_is_stopped_first(directory: Path) -> None:
    lines: list[str] = []
    with parent_process(directory / "postgres") as (process, pid, guard):
        os.kill(guard, signal.SIGKILL)
        process.kill()
        process.wait()
        assert runs_in(pid, directory / "postgres" / "data")
        with EmbeddedPostgres(directory / "postgres", settings=FAST, log=lines.append) as server:
            assert server.pid != pid
            assert fetch_value(server.superuser_url(), "SELECT 1") == 1
    assert not runs_in(pid, directory / "postgres" / "data")
    assert len(lines) == 1


def test_a_killed_server_recovers(directory: Path) -> None:
    with EmbeddedPostgres(directory / "postgres") as server:
        server.ensure_database("auth", ROLES)
        with psycopg.connect(server.url("auth_owner")) as connection:
            connection.execute("CREATE TABLE kept ()")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: server.poll() is not None, within=10)
        server.stop()
        server.start()
        assert fetch_value(server.url("auth_owner"), "SELECT count(*) FROM kept") == 0


def test_a_process_with_a_reused_pid_is_not_stopped(directory: Path) -> None:
    with running(directory / "postgres") as server:
        pass
    user = system_user.server_user(server.data, print)
    with subprocess.Popen(["sleep", "60"], user=user.uid, group=user.gid, cwd="/") as other:
        (server.data / "postmaster.pid").write_text(f"{other.pid}\n{server.data}\n1\n5432\n")
        with server:
            assert recorded_pid(server.data) == server.pid
        assert other.poll() is None
        other.kill()


def test_a_long_or_unusual_path_gets_a_short_socket_directory(directory: Path, state: Path) -> None:
    assert len(str(running(directory / ("x" * 100)).socket_directory)) < 90
    with running(directory / "it's 100 %, really") as server:
        assert server.socket_directory.parent != server.home
        assert server.socket_directory.stat().st_mode & 0o077 == 0
        assert fetch_value(server.superuser_url(), "SELECT 1") == 1
    assert not server.socket_directory.exists()


def test_a_directory_of_another_user_is_refused(directory: Path) -> None:
    (directory / "link").symlink_to(directory)
    (directory / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(PostgresError, match="another user"):
            private_directory(directory / name, SystemUser())
    if os.geteuid() == 0:
        (directory / "other").mkdir()
        os.chown(directory / "other", 12345, 12345)
        with pytest.raises(PostgresError, match="another user"):
            private_directory(directory / "other", SystemUser())


@requires_root
def test_unreachable_directory_becomes_a_link(directory: Path, state: Path) -> None:
    (directory / "closed").mkdir(mode=0o700)
    lines: list[str] = []
    server = EmbeddedPostgres(directory / "closed" / "postgres", settings=FAST, log=lines.append)
    for _ in range(2):
        with server:
            assert server.home == state / fingerprint(server.directory)
            assert fetch_value(server.superuser_url(), "SELECT 1") == 1
    assert (directory / "closed").stat().st_mode & 0o777 == 0o700
    assert str(state) in lines[0]


@requires_root
def test_data_of_a_deleted_directory_is_renamed(directory: Path, state: Path) -> None:
    (directory / "closed").mkdir(mode=0o700)
    with running(directory / "closed" / "postgres") as server:
        url = server.superuser_url()
    server.directory.unlink()
    with server:
        assert server.superuser_url() != url
    assert (state / f"{server.home.name}.old-1" / "data").is_dir()


@requires_root
def test_programs_that_the_user_cannot_run_are_copied(
    directory: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    can_execute = SystemUser.can_execute
    monkeypatch.setattr(
        SystemUser, "can_execute", lambda user, path: path.name != "postgres" and can_execute(user, path)
    )
    old_umask = os.umask(0o077)
    try:
        for _ in range(2):
            with running(directory / "server") as server:
                assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(state)
    finally:
        os.umask(old_umask)


@requires_root
def test_without_useradd_the_user_nobody_is_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_user, "SYSTEM_USERS", ())
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    lines: list[str] = []
    assert system_user.server_user(directory / "data", lines.append).name == "nobody"
    assert len(lines) == 1


def test_a_missing_wheel_is_reported(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PACKAGE", "no_such_package")
    with pytest.raises(PostgresError, match="DATABASE_URL"):
        running(directory / "postgres").start()


def test_a_failed_start_reports_the_reason(directory: Path) -> None:
    with pytest.raises(PostgresError, match="no_such_setting"):
        EmbeddedPostgres(directory / "postgres", settings={"no_such_setting": "1"}).start()
