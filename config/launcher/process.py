"""ManagedProcess processes that end with whoever started them, however that one ends.

Between the two stands a guard: this very file, run as a script. It holds the reading end of a
pipe, and the end of that pipe is the order to stop. `ManagedProcess.stop()` closes it, and so does the
kernel when the starter is killed: one way to stop, the same on Linux and macOS, and no signal of
a terminal reaches the child beside it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class StopPolicy:
    """How a child is asked to stop, and as whom it runs."""

    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 30  # then the whole process group is killed
    uid: int | None = None
    gid: int | None = None


class ManagedProcess:
    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        stop_policy: StopPolicy | None = None,
        cwd: Path | None = None,
        output: IO[bytes] | None = None,
    ) -> None:
        """Start `command`; what it prints goes to `output`, or to our standard error.

        Raises: OSError when the command can't be started.
        """
        guard = [sys.executable, "-I", "-S", __file__, json.dumps(vars(stop_policy or StopPolicy()))]
        self._guard = subprocess.Popen(
            [*guard, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        assert self._guard.stdout is not None  # noqa: S101 - it is a PIPE
        with self._guard.stdout as announcement:
            pid = announcement.readline()
        if not pid:
            self._close_pipe()
            self._guard.wait()
            message = f"{Path(command[0]).name} could not be started"
            raise OSError(message)
        self.pid = int(pid)

    def poll(self) -> int | None:
        """Exit status as a shell would log it, or None while the child runs."""
        code = self._guard.poll()
        return None if code is None else self._ended(code)

    def wait(self) -> int:
        return self._ended(self._guard.wait())

    def stop(self) -> None:
        """Order it to stop, and return when it has. Calling it again is harmless."""
        self._close_pipe()
        self.wait()

    def _close_pipe(self) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - it is a PIPE
        self._guard.stdin.close()

    def _ended(self, code: int) -> int:
        self._close_pipe()
        if code < 0:  # somebody killed the guard: its child must not stay behind
            kill_group(self.pid)
        return code


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a dead group
        os.killpg(leader, signal.SIGKILL)


def wait_until(event: Callable[[], bool], *, within: float) -> bool:
    """Whether `event` comes true in so many seconds."""
    deadline = time.monotonic() + within
    while not event():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def guard(stop_policy: StopPolicy, command: Sequence[str]) -> int:
    """Run `command` in a session of its own until it ends or the pipe does."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        user=stop_policy.uid,
        group=stop_policy.gid,
        extra_groups=None if stop_policy.gid is None else [],
    )
    ended = threading.Event()

    def stop_at_end_of_pipe() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, stop_policy.stop_signal)
        if not ended.wait(stop_policy.grace_seconds):
            kill_group(child.pid)

    threading.Thread(target=stop_at_end_of_pipe, daemon=True).start()
    with contextlib.suppress(BrokenPipeError), sys.stdout as announcement:
        announcement.write(f"{child.pid}\n")
    code = child.wait()
    ended.set()
    kill_group(child.pid)  # what a killed child left: granian's workers would go on serving
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    for stray in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(stray, lambda *_: None)  # not SIG_IGN, which the child would inherit
    try:
        sys.exit(guard(StopPolicy(**json.loads(sys.argv[1])), sys.argv[2:]))
    except OSError as error:
        sys.exit(str(error))
