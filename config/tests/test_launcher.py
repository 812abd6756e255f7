"""`make run`, seen from outside: with small stand-ins for Django, and once with the whole house."""

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
from config.launcher.main import first_steps
from config.launcher.process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

# Instead of manage.py: notes what it was given, and stays as a mail worker does.
MANAGE = """
import json, os, pathlib, signal, sys, time
note = pathlib.Path(os.environ["DATA_DIR"], sys.argv[1])
note.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), **os.environ}))
note.with_suffix(".new").rename(note)
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
from config.launcher import main as launcher
here = pathlib.Path(__file__).parent
launcher.APPLICATION = "application:application"
launcher.MANAGE = (sys.executable, str(here / "manage.py"))
launcher.SETTLED_SECONDS = float(sys.argv[1])
sys.exit(launcher.main())
"""


@pytest.mark.parametrize(
    ("given", "told", "untold"),
    [
        ({}, "mails are files here", "EMAIL_URL"),
        ({"EMAIL_URL": "smtp://h"}, "the server of EMAIL_URL", "files"),
    ],
)
def test_mails_are_said_to_be_files_only_if_they_are(
    tmp_path: Path, given: dict[str, str], told: str, untold: str
) -> None:
    instance = Instance("127.0.0.1", (socket.AF_INET, "127.0.0.1"), 8000, tmp_path, "", given)
    lines = first_steps(instance)
    assert told in lines
    assert untold not in lines


def test_instance_knows_of_a_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", "smtp://h")
    assert read_instance().given["EMAIL_URL"] == "smtp://h"
    monkeypatch.setenv("EMAIL_URL", "")
    assert "EMAIL_URL" not in read_instance().given


class Run:
    """One launcher, with DATA_DIR and port of its own."""

    def __init__(self, place: Path, *arguments: object, **env: str) -> None:
        self.data_dir = place / "data"
        self.port = free_port()
        self.program = [sys.executable, *map(str, arguments)]
        ours = {"SECRET_KEY", "PUBLIC_URL", "HOST", "MAKELEVEL", *DATABASE_URLS}
        self.env = {name: value for name, value in os.environ.items() if name not in ours}
        self.env |= {"DATA_DIR": str(self.data_dir), "PYTHONPATH": f"{ROOT}:{place}"}
        self.env |= {"PORT": str(self.port), **env}
        self.output = place / "output"

    def start(self) -> "Run":
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.program, cwd=ROOT, env=self.env, stdout=output, stderr=output
            )
        return self

    def ready(self) -> "Run":
        self.start()
        assert wait_until(lambda: "Ready: " in self.said or self.process.poll() is not None, within=120)
        assert self.process.poll() is None, self.said
        return self

    @property
    def said(self) -> str:
        return self.output.read_text()

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(timeout=60)

    def get(self, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def served_by(self) -> dict[str, str]:
        return dict(json.loads(self.get()[1]))

    def noted(self, command: str) -> dict[str, str]:
        return dict(json.loads((self.data_dir / command).read_text()))

    def is_gone(self) -> bool:
        """Whether nothing of it runs any more."""
        told = subprocess.run(["ps", "-ewwo", "args="], capture_output=True, text=True, check=True).stdout
        with contextlib.suppress(OSError):
            self.get()
            return False
        return str(self.data_dir.parent) not in told


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


Make = Callable[..., Run]


@contextlib.contextmanager
def runs_with_stand_ins() -> Iterator[Make]:
    """A maker of runs; whatever wait_until, none outlives the block."""
    place = Path(tempfile.mkdtemp(prefix="auth-test-"))
    place.chmod(0o711)
    runs: list[Run] = []

    def make(settled_seconds: float = 10, **env: str) -> Run:
        home = place / str(len(runs))
        home.mkdir()
        for name, text in (("manage", MANAGE), ("application", APPLICATION), ("stand_in", STAND_IN)):
            (home / f"{name}.py").write_text(text)
        runs.append(Run(home, home / "stand_in.py", settled_seconds, **env))
        return runs[-1]

    yield make
    for run in runs:
        if hasattr(run, "process") and run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    for run in runs:
        assert wait_until(run.is_gone, within=20)
    shutil.rmtree(place)


@pytest.fixture
def make() -> Iterator[Make]:
    with runs_with_stand_ins() as make:
        yield make


@pytest.fixture(scope="module")
def first() -> Iterator[Run]:
    """One that runs throughout."""
    with runs_with_stand_ins() as make:
        yield make().ready()


def test_a_run_keeps_its_secrets_for_the_next(make: Make) -> None:
    run = make().ready()
    first = read_env(run.data_dir / "instance.env")
    assert run.stop() == 0
    assert run.is_gone()
    run.ready()
    assert read_env(run.data_dir / "instance.env") == first
    assert len(first["SECRET_KEY"]) >= 50
    assert (run.data_dir / "instance.env").stat().st_mode & 0o777 == 0o600
    assert run.stop(signal.SIGINT) == 0


def test_each_process_knows_what_it_needs_and_no_more(first: Run) -> None:
    run = first
    urls = read_env(run.data_dir / "instance.env")
    everyday = {"DATABASE_URL", "OPERATOR_DATABASE_URL", "SECRET_KEY"}
    superuser = (run.data_dir / "postgres" / "passwords" / "postgres").read_text()
    for knows in (run.served_by(), run.noted("run_worker"), run.noted("ensure_signing_key")):
        assert {name: knows[name] for name in everyday} == {name: urls[name] for name in everyday}
        assert "OWNER_DATABASE_URL" not in knows
        assert superuser not in str(knows)
    assert run.noted("migrate")["OWNER_DATABASE_URL"] == urls["OWNER_DATABASE_URL"]
    with psycopg.connect(urls["OWNER_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE made_by_migrate ()")


def test_two_instances_run_side_by_side(first: Run, make: Make) -> None:
    second = make().ready()
    assert second.served_by()["DATABASE_URL"] != first.served_by()["DATABASE_URL"]
    assert second.stop() == 0
    assert first.get()[0] == 200


def test_a_data_dir_in_use_is_refused_in_one_line(first: Run, make: Make) -> None:
    second = make()
    second.env["DATA_DIR"] = first.env["DATA_DIR"]
    assert second.start().ended() == 1
    assert "DATA_DIR" in second.said
    assert second.said.count("\n") == 1
    assert first.get()[0] == 200


def test_a_busy_port_is_refused_in_one_line(first: Run, make: Make) -> None:
    second = make()
    second.env["PORT"] = first.env["PORT"]
    assert second.start().ended() == 1
    assert f"127.0.0.1:{first.port}" in second.said
    assert second.said.count("\n") == 1


def test_of_two_that_start_at_once_one_gets_the_port(make: Make) -> None:
    runs = [make(), make()]
    runs[1].env["PORT"] = runs[0].env["PORT"]
    for run in runs:
        run.start()
    assert wait_until(lambda: any(run.process.poll() is not None for run in runs), within=60)
    assert wait_until(lambda: any("Ready: " in run.said for run in runs), within=60)
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
def test_a_setting_that_makes_no_sense_is_named(make: Make, name: str, value: str) -> None:
    run = make()
    run.env[name] = value
    assert run.start().ended() == 1
    assert name in run.said
    assert run.said.count("\n") == 1


def test_a_database_of_ones_own_needs_no_embedded_one(make: Make) -> None:
    urls = {name: f"postgres://{name.lower()}:secret@db.invalid/auth" for name in DATABASE_URLS}
    run = make(**urls).ready()
    assert not (run.data_dir / "postgres").exists()
    assert run.served_by()["DATABASE_URL"] == urls["DATABASE_URL"]
    assert "OWNER_DATABASE_URL" not in run.served_by()
    assert read_env(run.data_dir / "instance.env").keys() == {"SECRET_KEY"}


def test_a_failed_migration_stops_the_start_with_its_reason(make: Make) -> None:
    run = make(FAILS="migrate")
    assert run.start().ended() == 1
    assert "migrate failed: the reason" in run.said
    assert "Traceback" not in run.said
    assert run.is_gone()


def test_a_killed_launcher_leaves_nothing_running(make: Make) -> None:
    run = make().ready()
    run.process.kill()
    run.process.wait()
    assert wait_until(run.is_gone, within=20)
    run.ready()


def test_killed_children_are_replaced(make: Make) -> None:
    run = make(settled_seconds=0).ready()
    kill_and_await_next(lambda: run.served_by()["pid"])
    kill_and_await_next(lambda: run.served_by()["master"])
    kill_and_await_next(lambda: run.noted("run_worker")["pid"])
    assert run.stop() == 0


def kill_and_await_next(number: Callable[[], object]) -> None:
    seen: list[object] = []

    def answered() -> bool:
        with contextlib.suppress(OSError):  # whoever was killed a moment ago may still hold a connection
            seen.append(number())
        return bool(seen)

    def replaced() -> bool:
        return answered() and seen[-1] != killed

    assert wait_until(answered, within=20)
    killed = seen[-1]
    os.kill(int(str(killed)), signal.SIGKILL)
    assert wait_until(replaced, within=20)


def test_a_worker_that_ends_at_once_stops_everything(make: Make) -> None:
    run = make(FAILS="run_worker")
    assert run.start().ended() == 1
    assert "The mail worker ended (status 1); everything stops" in run.said
    assert run.is_gone()


def test_a_killed_database_stops_everything_and_the_next_start_recovers(make: Make) -> None:
    run = make().ready()
    pid = int((run.data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert run.ended() == 1
    assert "PostgreSQL ended" in run.said
    assert run.is_gone()
    run.ready()


def test_ctrl_c_in_a_terminal_reaches_each_child_once(make: Make) -> None:
    run = make()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(run.program[0], run.program, run.env)
    said = b""
    while b"Ready: " not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03\x03\x03")
    with contextlib.suppress(OSError):  # how a terminal without programs ends
        while more := os.read(terminal, 4096):
            said += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert said.rstrip().endswith(b"Stopped.")
    assert run.is_gone()


def test_the_whole_house_starts_and_stops(make: Make) -> None:
    run = make()
    run.program = [sys.executable, "-m", "config.launcher"]
    run.ready()
    assert run.get("/readyz")[0] == 200
    assert run.get("/api/docs/")[0] == 200
    assert run.stop() == 0
    assert run.is_gone()
