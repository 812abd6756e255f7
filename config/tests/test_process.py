"""What the launcher starts ends with it, and gets one signal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.launcher.process import ManagedProcess, StopPolicy, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

COUNTING = """
import pathlib, signal, sys, time
heard = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: heard.open("a").write("T"))
signal.signal(signal.SIGINT, lambda *_: heard.open("a").write("I"))
heard.write_text("")
while not heard.read_text() or "--deaf" in sys.argv: time.sleep(0.02)
"""
STARTER = """
import pathlib, sys, time
from config.launcher.process import ManagedProcess
child = ManagedProcess(sys.argv[2:], env={})
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether it runs; the dead that nobody has collected do not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith(b"Z")


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    return tmp_path / "heard"


@pytest.fixture
def counting(heard: Path) -> Iterator[ManagedProcess]:
    child = ManagedProcess([sys.executable, "-c", COUNTING, heard], env={})
    assert wait_until(heard.exists, within=10)
    yield child
    child.stop()


def test_stopping_sends_one_signal(counting: ManagedProcess, heard: Path) -> None:
    counting.stop()
    counting.stop()
    assert heard.read_text() == "T"
    assert counting.poll() == 0


def test_a_child_chooses_its_signal(heard: Path) -> None:
    child = ManagedProcess(
        [sys.executable, "-c", COUNTING, heard], env={}, stop_policy=StopPolicy(signal.SIGINT)
    )
    assert wait_until(heard.exists, within=10)
    child.stop()
    assert heard.read_text() == "I"


def test_a_deaf_child_is_killed_after_its_grace(heard: Path) -> None:
    stop_policy = StopPolicy(grace_seconds=0.2)
    child = ManagedProcess([sys.executable, "-c", COUNTING, heard, "--deaf"], env={}, stop_policy=stop_policy)
    assert wait_until(heard.exists, within=10)
    child.stop()
    assert heard.read_text() == "T"
    assert child.poll() == 128 + signal.SIGKILL


def test_a_child_that_ends_says_how() -> None:
    assert ManagedProcess(["/bin/sh", "-c", "exit 3"], env={}).wait() == 3


def test_a_missing_command_is_an_error_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output, pytest.raises(OSError, match="nothing could not be"):
        ManagedProcess([tmp_path / "nothing"], env={}, output=output)


def test_what_a_killed_child_leaves_behind_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = ManagedProcess(
        ["/bin/sh", "-c", 'sleep 60 & echo $! > "$0"; wait', pid_file], env=dict(os.environ)
    )
    assert wait_until(lambda: pid_file.exists() and bool(pid_file.read_text().strip()), within=10)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert wait_until(lambda: not alive(int(pid_file.read_text())), within=5)


def test_a_child_does_not_outlive_its_guard(counting: ManagedProcess) -> None:
    os.kill(counting._guard.pid, signal.SIGKILL)
    counting.wait()
    assert wait_until(lambda: not alive(counting.pid), within=5)


def test_a_child_ends_with_its_killed_starter(tmp_path: Path, heard: Path) -> None:
    pid_file = tmp_path / "pid"
    counting = [sys.executable, "-c", COUNTING, str(heard)]
    starter = subprocess.Popen([sys.executable, "-c", STARTER, pid_file, *counting])
    assert wait_until(lambda: heard.exists() and pid_file.exists() and bool(pid_file.read_text()), within=10)
    starter.kill()
    starter.wait()
    assert wait_until(lambda: not alive(int(pid_file.read_text())), within=5)
    assert heard.read_text() == "T"
