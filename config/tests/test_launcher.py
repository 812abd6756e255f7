"""`make run` as a user sees it: with small stand-ins for Django, and once with the real service."""

import contextlib
import http.client
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from config.launcher.instance import DATABASE_URLS, ROOT, Instance, read_env, read_instance
from config.launcher.output import first_steps
from config.launcher.process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

# Replaces manage.py: writes its environment to a file, and keeps running as `run_worker`.
MANAGE = """
import json, os, pathlib, signal, sys, time
file = pathlib.Path(os.environ["DATA_DIR"], sys.argv[1])
file.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), **os.environ}))
file.with_suffix(".new").rename(file)
if os.environ.get("FAILS") == sys.argv[1]:
    sys.exit("Traceback\\n  of many lines\\nthe reason")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while sys.argv[1] == "run_worker":
    time.sleep(0.05)
"""
APPLICATION = """
import json, os
def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid(), "master": os.getppid(), **os.environ}).encode()]
"""
STAND_IN = """
import pathlib, sys
from config.launcher import commands, services
from config.launcher.__main__ import main
commands.MANAGE = (sys.executable, str(pathlib.Path(__file__).parent / "manage.py"))
services.APPLICATION = "application:application"
services.MIN_UPTIME_SECONDS = float(sys.argv[1])
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("given", "expected", "unexpected"),
    [
        ({}, "emails are files here", "EMAIL_URL"),
        ({"EMAIL_URL": "smtp://h"}, "the server of EMAIL_URL", "files"),
    ],
)
def test_first_steps_name_the_folder_of_mails(
    tmp_path: Path, given: dict[str, str], expected: str, unexpected: str
) -> None:
    instance = Instance("127.0.0.1", (socket.AF_INET, "127.0.0.1"), 8000, tmp_path, "", given)
    text = first_steps(instance)
    assert expected in text
    assert unexpected not in text


def test_instance_reads_email_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", "smtp://h")
    assert read_instance().given["EMAIL_URL"] == "smtp://h"
    monkeypatch.setenv("EMAIL_URL", "")
    assert "EMAIL_URL" not in read_instance().given


class Run:
    """One launcher process with its own DATA_DIR and port."""

    def __init__(self, directory: Path, *arguments: object, **env: str) -> None:
        self.data_dir = directory / "data"
        self.port = free_port()
        self.program = [sys.executable, *map(str, arguments)]
        removed = {"SECRET_KEY", "PUBLIC_URL", "HOST", "MAKELEVEL", *DATABASE_URLS}
        self.env = {name: value for name, value in os.environ.items() if name not in removed}
        self.env |= {"DATA_DIR": str(self.data_dir), "PYTHONPATH": f"{ROOT}:{directory}"}
        self.env |= {"PORT": str(self.port), **env}
        self.output_file = directory / "output"

    def start(self) -> "Run":
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                self.program, cwd=ROOT, env=self.env, stdout=output, stderr=output
            )
        return self

    def start_and_wait(self) -> "Run":
        self.start()
        assert wait_until(lambda: "Ready: " in self.output or self.process.poll() is not None, within=120)
        assert self.process.poll() is None, self.output
        return self

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(timeout=60)

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def server_environment(self) -> dict[str, str]:
        return dict(json.loads(self.get()[1]))

    def command_environment(self, command: str) -> dict[str, str]:
        return dict(json.loads((self.data_dir / command).read_text()))

    def is_gone(self) -> bool:
        """Whether none of its processes runs any more."""
        processes = subprocess.run(
            ["ps", "-ewwo", "args="], capture_output=True, text=True, check=True
        ).stdout
        with contextlib.suppress(OSError):
            self.get()
            return False
        return str(self.data_dir.parent) not in processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


MakeRun = Callable[..., Run]


@contextlib.contextmanager
def runs_with_stand_ins() -> Iterator[MakeRun]:
    """A function that makes runs; all of them end with the block."""
    directory = Path(tempfile.mkdtemp(prefix="auth-test-"))
    directory.chmod(0o711)
    runs: list[Run] = []

    def make(min_uptime_seconds: float = 10, **env: str) -> Run:
        home = directory / str(len(runs))
        home.mkdir()
        for name, text in (("manage", MANAGE), ("application", APPLICATION), ("stand_in", STAND_IN)):
            (home / f"{name}.py").write_text(text)
        runs.append(Run(home, home / "stand_in.py", min_uptime_seconds, **env))
        return runs[-1]

    yield make
    for run in runs:
        if hasattr(run, "process") and run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    for run in runs:
        assert wait_until(run.is_gone, within=20)
    shutil.rmtree(directory)


@pytest.fixture
def make() -> Iterator[MakeRun]:
    with runs_with_stand_ins() as make:
        yield make


@pytest.fixture(scope="module")
def first() -> Iterator[Run]:
    """A run that all tests of this module share."""
    with runs_with_stand_ins() as make:
        yield make().start_and_wait()


def test_a_run_keeps_its_secrets_for_the_next(make: MakeRun) -> None:
    run = make().start_and_wait()
    first = read_env(run.data_dir / "instance.env")
    assert run.stop() == 0
    assert run.is_gone()
    run.start_and_wait()
    assert read_env(run.data_dir / "instance.env") == first
    assert len(first["SECRET_KEY"]) >= 50
    assert (run.data_dir / "instance.env").stat().st_mode & 0o777 == 0o600
    assert run.stop(signal.SIGINT) == 0


def test_each_process_gets_only_the_secrets_it_needs(first: Run) -> None:
    run = first
    urls = read_env(run.data_dir / "instance.env")
    expected = {"DATABASE_URL", "OPERATOR_DATABASE_URL", "SECRET_KEY"}
    superuser = (run.data_dir / "postgres" / "passwords" / "postgres").read_text()
    for environment in (
        run.server_environment(),
        run.command_environment("run_worker"),
        run.command_environment("ensure_signing_key"),
    ):
        assert {name: environment[name] for name in expected} == {name: urls[name] for name in expected}
        assert "OWNER_DATABASE_URL" not in environment
        assert superuser not in str(environment)
    assert run.command_environment("migrate")["OWNER_DATABASE_URL"] == urls["OWNER_DATABASE_URL"]
    with psycopg.connect(urls["OWNER_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE created_by_owner ()")


def test_two_instances_run_side_by_side(first: Run, make: MakeRun) -> None:
    second = make().start_and_wait()
    assert second.server_environment()["DATABASE_URL"] != first.server_environment()["DATABASE_URL"]
    assert second.stop() == 0
    assert first.get()[0] == 200


def test_a_data_dir_in_use_is_refused_in_one_line(first: Run, make: MakeRun) -> None:
    second = make()
    second.env["DATA_DIR"] = first.env["DATA_DIR"]
    assert second.start().wait() == 1
    assert "DATA_DIR" in second.output
    assert second.output.count("\n") == 1
    assert first.get()[0] == 200


def test_a_busy_port_is_refused_in_one_line(first: Run, make: MakeRun) -> None:
    second = make()
    second.env["PORT"] = first.env["PORT"]
    assert second.start().wait() == 1
    assert f"127.0.0.1:{first.port}" in second.output
    assert second.output.count("\n") == 1


def test_two_concurrent_starts_give_the_port_to_one(make: MakeRun) -> None:
    runs = [make(), make()]
    runs[1].env["PORT"] = runs[0].env["PORT"]
    for run in runs:
        run.start()
    assert wait_until(lambda: any(run.process.poll() is not None for run in runs), within=60)
    assert wait_until(lambda: any("Ready: " in run.output for run in runs), within=60)
    assert [run.process.poll() for run in runs].count(None) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("HOST", "not an address"),
        ("OWNER_DATABASE_URL", "postgres://a@b/c"),
    ],
)
def test_an_invalid_setting_is_named(make: MakeRun, name: str, value: str) -> None:
    run = make()
    run.env[name] = value
    assert run.start().wait() == 1
    assert name in run.output
    assert run.output.count("\n") == 1


def test_own_database_url_starts_no_embedded_postgres(make: MakeRun) -> None:
    urls = {name: f"postgres://{name.lower()}:secret@db.invalid/auth" for name in DATABASE_URLS}
    run = make(**urls).start_and_wait()
    assert not (run.data_dir / "postgres").exists()
    assert run.server_environment()["DATABASE_URL"] == urls["DATABASE_URL"]
    assert "OWNER_DATABASE_URL" not in run.server_environment()
    assert read_env(run.data_dir / "instance.env").keys() == {"SECRET_KEY"}


def test_a_failed_migration_is_reported_and_stops_the_start(make: MakeRun) -> None:
    run = make(FAILS="migrate")
    assert run.start().wait() == 1
    assert "migrate failed: the reason" in run.output
    assert "Traceback" not in run.output
    assert run.is_gone()


def test_a_killed_launcher_leaves_nothing_running(make: MakeRun) -> None:
    run = make().start_and_wait()
    run.process.kill()
    run.process.wait()
    assert wait_until(run.is_gone, within=20)
    run.start_and_wait()


def test_killed_children_are_replaced(make: MakeRun) -> None:
    run = make(min_uptime_seconds=0).start_and_wait()
    kill_and_wait_for_next(lambda: run.server_environment()["pid"])
    kill_and_wait_for_next(lambda: run.server_environment()["master"])
    kill_and_wait_for_next(lambda: run.command_environment("run_worker")["pid"])
    assert run.stop() == 0


def kill_and_wait_for_next(read_pid: Callable[[], object]) -> None:
    pids: list[object] = []

    def is_running() -> bool:
        with contextlib.suppress(OSError):  # a killed process may still hold the connection
            pids.append(read_pid())
        return bool(pids)

    def is_replaced() -> bool:
        return is_running() and pids[-1] != killed

    assert wait_until(is_running, within=20)
    killed = pids[-1]
    os.kill(int(str(killed)), signal.SIGKILL)
    assert wait_until(is_replaced, within=20)


def test_a_worker_that_exits_at_once_stops_everything(make: MakeRun) -> None:
    run = make(FAILS="run_worker")
    assert run.start().wait() == 1
    assert "The mail worker exited (status 1); stopping everything" in run.output
    assert run.is_gone()


def test_a_killed_database_stops_everything(make: MakeRun) -> None:
    run = make().start_and_wait()
    pid = int((run.data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert run.wait() == 1
    assert "PostgreSQL exited" in run.output
    assert run.is_gone()
    run.start_and_wait()


def test_ctrl_c_in_a_terminal_stops_everything(make: MakeRun) -> None:
    run = make()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(run.program[0], run.program, run.env)
    output = b""
    while b"Ready: " not in output:
        output += os.read(terminal, 4096)
    os.write(terminal, b"\x03\x03\x03")
    with contextlib.suppress(OSError):  # a terminal without processes
        while more := os.read(terminal, 4096):
            output += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert output.rstrip().endswith(b"Stopped.")
    assert run.is_gone()


def test_the_real_service_starts_and_stops(make: MakeRun) -> None:
    run = make()
    run.program = [sys.executable, "-m", "config.launcher"]
    run.start_and_wait()
    assert run.get("/readyz")[0] == 200
    assert run.get("/api/docs/")[0] == 200
    assert run.stop() == 0
    assert run.is_gone()
