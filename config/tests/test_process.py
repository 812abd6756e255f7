"""Child processes end with their parent and get exactly one signal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.launcher.process import ManagedProcess, StopPolicy, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.no_database]

RECORD_SIGNALS = """
import pathlib, signal, sys, time
received = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: received.open("a").write("T"))
signal.signal(signal.SIGINT, lambda *_: received.open("a").write("I"))
received.write_text("")
while not received.read_text() or "--ignore" in sys.argv: time.sleep(0.02)
"""
PARENT = """
import pathlib, sys, time
from config.launcher.process import ManagedProcess
child = ManagedProcess(sys.argv[2:], env={})
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith(b"Z")


@pytest.fixture
def received(tmp_path: Path) -> Path:
    return tmp_path / "received"


@pytest.fixture
def recording(received: Path) -> Iterator[ManagedProcess]:
    child = ManagedProcess([sys.executable, "-c", RECORD_SIGNALS, received], env={})
    assert wait_until(received.exists, within=10)
    yield child
    child.stop()


def test_stopping_sends_one_signal(recording: ManagedProcess, received: Path) -> None:
    recording.stop()
    recording.stop()
    assert received.read_text() == "T"
    assert recording.poll() == 0


def test_the_stop_signal_is_configurable(received: Path) -> None:
    child = ManagedProcess(
        [sys.executable, "-c", RECORD_SIGNALS, received], env={}, stop_policy=StopPolicy(signal.SIGINT)
    )
    assert wait_until(received.exists, within=10)
    child.stop()
    assert received.read_text() == "I"


def test_a_child_that_ignores_the_signal_is_killed(received: Path) -> None:
    stop_policy = StopPolicy(grace_seconds=0.2)
    child = ManagedProcess(
        [sys.executable, "-c", RECORD_SIGNALS, received, "--ignore"], env={}, stop_policy=stop_policy
    )
    assert wait_until(received.exists, within=10)
    child.stop()
    assert received.read_text() == "T"
    assert child.poll() == 128 + signal.SIGKILL


def test_exit_status_is_passed_on() -> None:
    assert ManagedProcess(["/bin/sh", "-c", "exit 3"], env={}).wait() == 3


def test_a_missing_command_is_an_oserror(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output, pytest.raises(OSError, match="nothing could not be"):
        ManagedProcess([tmp_path / "nothing"], env={}, output=output)


def test_children_of_a_killed_child_are_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = ManagedProcess(
        ["/bin/sh", "-c", 'sleep 60 & echo $! > "$0"; wait', pid_file], env=dict(os.environ)
    )
    assert wait_until(lambda: pid_file.exists() and bool(pid_file.read_text().strip()), within=10)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert wait_until(lambda: not alive(int(pid_file.read_text())), within=5)


def test_a_child_does_not_outlive_its_guard(recording: ManagedProcess) -> None:
    os.kill(recording._guard.pid, signal.SIGKILL)
    recording.wait()
    assert wait_until(lambda: not alive(recording.pid), within=5)


def test_a_child_ends_with_its_killed_parent(tmp_path: Path, received: Path) -> None:
    pid_file = tmp_path / "pid"
    command = [sys.executable, "-c", RECORD_SIGNALS, str(received)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, pid_file, *command])
    assert wait_until(
        lambda: received.exists() and pid_file.exists() and bool(pid_file.read_text()), within=10
    )
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not alive(int(pid_file.read_text())), within=5)
    assert received.read_text() == "T"
