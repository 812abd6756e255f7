"""The embedded PostgreSQL: closed to whoever has no password, and clean after every kind of end."""

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

from config.launcher.postgres import system
from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.system import (
    PostgresError,
    SystemUser,
    fingerprint,
    private_directory,
    recorded_pid,
    runs_in,
)
from config.launcher.process import wait_until
from tenancy.roles import Roles

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROLES = Roles.of("auth")
STARTER = """
import pathlib, sys, time
from config.launcher.postgres.cluster import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1]), settings={"fsync": "off"}) as server:
    print(server.pid, server._child._guard.pid, flush=True)
    time.sleep(60)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends PostgreSQL to another user")


@contextlib.contextmanager
def reachable_directory() -> Iterator[Path]:
    """Somewhere that the server's user reaches: pytest's own directories are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="auth-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def place() -> Iterator[Path]:
    with reachable_directory() as directory:
        yield directory


@pytest.fixture
def state(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the folder under /var/lib."""
    monkeypatch.setattr(system, "STATE", place / "state")
    return place / "state"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with reachable_directory() as directory, running(directory / "postgres") as server:
        server.ensure_database("auth", ROLES)
        yield server


def running(directory: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, settings=FAST)


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row and row[0]


@contextlib.contextmanager
def starter(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Another process that keeps a server: it, the server's pid and its guard's."""
    command = [sys.executable, "-c", STARTER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server, guard = map(int, process.stdout.readline().split())
        try:
            yield process, server, guard
        finally:
            process.kill()


@pytest.mark.parametrize("role", [*ROLES.logins(), "postgres"])
def test_each_role_enters_with_its_own_password_and_no_other(server: EmbeddedPostgres, role: str) -> None:
    url = server.url(role)
    assert ask(url, "SELECT current_user") == role
    password = (server.home / "passwords" / role).read_text()
    for wrong in ("", "guess"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(password, wrong), passfile="/dev/null")


def test_there_is_no_door_but_the_socket(server: EmbeddedPostgres) -> None:
    superuser = server.superuser_url()
    assert ask(superuser, "SHOW listen_addresses") == ""
    assert ask(superuser, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0
    assert server.socket_directory.stat().st_mode & 0o077 == 0


def test_text_sorts_and_folds_alike_on_every_machine(server: EmbeddedPostgres) -> None:
    assert (
        ask(server.url("auth_app"), "SELECT datlocale FROM pg_database WHERE datname = 'auth'") == "C.UTF-8"
    )
    assert ask(server.url("auth_app"), "SELECT lower('ÅNGSTRÖM')") == "ångström"
    assert ask(server.url("auth_app"), "SHOW timezone") == "UTC"


def test_a_failed_statement_leaves_neither_text_nor_row_in_the_log(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url("auth_owner"), autocommit=True) as connection:
        connection.execute("CREATE TABLE people (email text PRIMARY KEY)")
        connection.execute("INSERT INTO people VALUES ('ada@example.com')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('ada@example.com')")
    logged = server.log.read_text()
    assert "people_pkey" in logged
    assert "ada@example.com" not in logged
    assert server.log.stat().st_mode & 0o077 == 0


def test_a_second_start_finds_data_and_passwords(place: Path) -> None:
    with running(place / "postgres") as first:
        first.ensure_database("auth", ROLES)
        url = first.url("auth_owner")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept ()")
    with running(place / "postgres") as second:
        second.ensure_database("auth", ROLES)
        assert second.url("auth_owner") == url
        assert ask(url, "SELECT count(*) FROM kept") == 0


def test_a_directory_in_use_is_refused(server: EmbeddedPostgres) -> None:
    with pytest.raises(PostgresError, match="in use"):
        running(server.directory).start()
    assert ask(server.superuser_url(), "SELECT 1") == 1


def test_a_server_ends_with_its_killed_starter(place: Path) -> None:
    with starter(place / "postgres") as (process, pid, _):
        process.kill()
        assert wait_until(lambda: not runs_in(pid, place / "postgres" / "data"), within=10)


def test_a_server_that_outlived_its_starter_is_stopped_first(place: Path) -> None:
    said: list[str] = []
    with starter(place / "postgres") as (process, pid, guard):
        os.kill(guard, signal.SIGKILL)
        process.kill()
        process.wait()
        assert runs_in(pid, place / "postgres" / "data")
        with EmbeddedPostgres(place / "postgres", settings=FAST, log=said.append) as server:
            assert server.pid != pid
            assert ask(server.superuser_url(), "SELECT 1") == 1
    assert not runs_in(pid, place / "postgres" / "data")
    assert len(said) == 1


def test_a_killed_server_recovers(place: Path) -> None:
    with EmbeddedPostgres(place / "postgres") as server:
        server.ensure_database("auth", ROLES)
        with psycopg.connect(server.url("auth_owner")) as connection:
            connection.execute("CREATE TABLE kept ()")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: server.poll() is not None, within=10)
        server.stop()
        server.start()
        assert ask(server.url("auth_owner"), "SELECT count(*) FROM kept") == 0


def test_a_stranger_with_the_number_of_a_killed_server_is_left_alone(place: Path) -> None:
    with running(place / "postgres") as server:
        pass
    user = system.server_user(server.cluster, print)
    with subprocess.Popen(["sleep", "60"], user=user.uid, group=user.gid, cwd="/") as stranger:
        (server.cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{server.cluster}\n1\n5432\n")
        with server:
            assert recorded_pid(server.cluster) == server.pid
        assert stranger.poll() is None
        stranger.kill()


def test_a_path_too_long_or_too_odd_for_a_socket_gets_a_short_one(place: Path, state: Path) -> None:
    assert len(str(running(place / ("x" * 100)).socket_directory)) < 90
    with running(place / "it's 100 %, really") as server:
        assert server.socket_directory.parent != server.home
        assert server.socket_directory.stat().st_mode & 0o077 == 0
        assert ask(server.superuser_url(), "SELECT 1") == 1
    assert not server.socket_directory.exists()


def test_a_directory_that_somebody_else_made_is_refused(place: Path) -> None:
    (place / "link").symlink_to(place)
    (place / "file").touch()
    for trap in ("link", "file"):
        with pytest.raises(PostgresError, match="somebody else"):
            private_directory(place / trap, SystemUser())
    if os.geteuid() == 0:
        (place / "theirs").mkdir()
        os.chown(place / "theirs", 12345, 12345)
        with pytest.raises(PostgresError, match="somebody else"):
            private_directory(place / "theirs", SystemUser())


@as_root
def test_data_go_elsewhere_when_the_servers_user_cannot_reach_them(place: Path, state: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    said: list[str] = []
    server = EmbeddedPostgres(place / "closed" / "postgres", settings=FAST, log=said.append)
    for _ in range(2):
        with server:
            assert server.home == state / fingerprint(server.directory)
            assert ask(server.superuser_url(), "SELECT 1") == 1
    assert (place / "closed").stat().st_mode & 0o777 == 0o700
    assert str(state) in said[0]


@as_root
def test_data_whose_directory_was_deleted_are_put_aside(place: Path, state: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    with running(place / "closed" / "postgres") as server:
        url = server.superuser_url()
    server.directory.unlink()
    with server:
        assert server.superuser_url() != url
    assert (state / f"{server.home.name}.old-1" / "data").is_dir()


@as_root
def test_programs_are_copied_when_the_servers_user_cannot_run_them(
    place: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = SystemUser.may
    monkeypatch.setattr(
        SystemUser, "may", lambda user, test, path: path.name != "postgres" and may(user, test, path)
    )
    old_umask = os.umask(0o077)
    try:
        for _ in range(2):
            with running(place / "server") as server:
                assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(state)
    finally:
        os.umask(old_umask)


@as_root
def test_without_useradd_nobody_runs_the_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "SYSTEM_USERS", ())
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    said: list[str] = []
    assert system.server_user(place / "data", said.append).name == "nobody"
    assert len(said) == 1


def test_a_platform_without_the_wheel_is_told_what_to_set(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "PACKAGE", "no_such_package")
    with pytest.raises(PostgresError, match="DATABASE_URL"):
        running(place / "postgres").start()


def test_a_server_that_does_not_start_says_why(place: Path) -> None:
    with pytest.raises(PostgresError, match="no_such_setting"):
        EmbeddedPostgres(place / "postgres", settings={"no_such_setting": "1"}).start()
