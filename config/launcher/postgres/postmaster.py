"""Finds and stops a PostgreSQL that is left from an earlier run."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from config.launcher.process import wait_until

from .system_user import Log, PostgresError

STOP_SECONDS = 60  # for a fast shutdown, which writes a checkpoint


def stop_leftover(data: Path, log: Log) -> None:
    """Stop a server that outlived its launcher. The caller holds the lock, so nobody else uses it."""
    pid = recorded_pid(data)
    if pid is None:
        return
    if runs_in(pid, data):
        log("Stopping a PostgreSQL that is left from an earlier run")
        for number in (signal.SIGINT, signal.SIGQUIT):  # fast shutdown, then immediate shutdown
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if wait_until(lambda: not runs_in(pid, data), within=STOP_SECONDS):
                return
        message = f"PostgreSQL (process {pid}) in {data} does not stop"
        raise PostgresError(message)
    # Another process may have this id by now, and PostgreSQL would take it for a running server.
    (data / "postmaster.pid").unlink(missing_ok=True)


def recorded_pid(data: Path) -> int | None:
    """The process id in `postmaster.pid`. A server that was killed leaves this file behind."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def runs_in(pid: int, data: Path) -> bool:
    """Whether process `pid` is a postgres whose data directory is `data`."""
    if Path("/proc/self/exe").exists():
        process = Path("/proc", str(pid))
        try:
            program = (process / "exe").readlink().name.removesuffix(" (deleted)")
            return program == "postgres" and (process / "cwd").samefile(data)
        except OSError:
            return False
    ps = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    program, _, arguments = os.fsdecode(ps.stdout).partition(" -D ")
    return program.endswith("/postgres") and arguments.startswith(f"{data} ")
