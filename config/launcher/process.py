"""Child processes that end with the process that started them, even if that one is killed.

A guard runs between the two: this file, started as a script. Its standard input is a pipe from the parent.
When the pipe closes, the guard stops the child. `ManagedProcess.stop()` closes the pipe; if the parent is
killed, the kernel closes it. This works the same on Linux and macOS. The child has its own session, so
Ctrl-C in a terminal does not reach it directly.
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
    """How a child is stopped, and the user and group that it runs as."""

    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 30  # before the whole process group is killed
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
        """Start `command`. Its output goes to `output`, or to our standard error.

        Raises: OSError if the command can't be started.
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
        """Exit status as a shell reports it (128 + signal), None while the child runs."""
        code = self._guard.poll()
        return None if code is None else self._cleaned_up(code)

    def wait(self) -> int:
        return self._cleaned_up(self._guard.wait())

    def stop(self) -> None:
        """Stop the child and wait for its end. May be called again."""
        self._close_pipe()
        self.wait()

    def _close_pipe(self) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - it is a PIPE
        self._guard.stdin.close()

    def _cleaned_up(self, code: int) -> int:
        self._close_pipe()
        if code < 0:  # the guard was killed, and could not stop the child
            kill_group(self.pid)
        return code


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM if the group has exited
        os.killpg(leader, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], *, within: float) -> bool:
    """Poll until `condition()` is true; False if it is not within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def guard(stop_policy: StopPolicy, command: Sequence[str]) -> int:
    """Run `command` in its own session until it exits or the pipe closes; its exit status."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        user=stop_policy.uid,
        group=stop_policy.gid,
        extra_groups=None if stop_policy.gid is None else [],
    )
    exited = threading.Event()

    def stop_when_pipe_closes() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, stop_policy.stop_signal)
        if not exited.wait(stop_policy.grace_seconds):
            kill_group(child.pid)

    threading.Thread(target=stop_when_pipe_closes, daemon=True).start()
    with contextlib.suppress(BrokenPipeError), sys.stdout as announcement:
        announcement.write(f"{child.pid}\n")
    code = child.wait()
    exited.set()
    kill_group(child.pid)  # children of a killed child: granian's workers would keep serving
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # the child would inherit SIG_IGN
    try:
        sys.exit(guard(StopPolicy(**json.loads(sys.argv[1])), sys.argv[2:]))
    except OSError as error:
        sys.exit(str(error))
