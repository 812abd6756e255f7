"""The long-running child processes: the server and the mail worker, and their supervision."""

import http.client
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

from config.launcher.postgres.cluster import EmbeddedPostgres

from . import commands
from .instance import ROOT, Instance, StartError
from .output import first_steps, log
from .process import ManagedProcess, StopPolicy

APPLICATION = "config.wsgi:application"
MAX_WORKERS = 8  # each thread keeps one or two connections; the embedded server accepts 300
GRACE_SECONDS = 10  # for requests that are being answered when the server stops
MIN_UPTIME_SECONDS = 10  # a service that exits earlier is not restarted: it would exit again
CHECK_INTERVAL_SECONDS = 0.2
NOTICE_AFTER_SECONDS = 10  # of waiting for readiness


class Service:
    """A child process that is restarted when it exits, unless it exits right after its start."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], stop_policy: StopPolicy
    ) -> None:
        self.name = name
        self._command, self._env, self._stop_policy = command, env, stop_policy

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def _start(self) -> None:
        self._child = ManagedProcess(self._command, env=self._env, stop_policy=self._stop_policy, cwd=ROOT)
        self._started_at = time.monotonic()

    def restart_if_exited(self) -> None:
        """Raises StartError if it exited within MIN_UPTIME_SECONDS."""
        status = self._child.poll()
        if status is None:
            return
        if time.monotonic() - self._started_at < MIN_UPTIME_SECONDS:
            message = f"{self.name} exited (status {status}); stopping everything"
            raise StartError(message)
        log(f"{self.name} exited (status {status}); restarting it")
        self._start()


def server(instance: Instance, secrets: Mapping[str, str]) -> Service:
    command = [sys.executable, "-m", "config.launcher.granian", "--interface", "wsgi", APPLICATION]
    command += ["--host", instance.address[1], "--port", str(instance.port)]
    command += ["--workers", str(min(cores(), MAX_WORKERS)), "--blocking-threads", str(commands.THREADS)]
    command += ["--http", "1", "--no-ws", "--backlog", "1024", "--http1-header-read-timeout", "10000"]
    command += ["--respawn-failed-workers", "--workers-kill-timeout", str(GRACE_SECONDS)]
    command += ["--log-level", "error"]
    stop_policy = StopPolicy(grace_seconds=GRACE_SECONDS + 5)
    return Service("The server", command, commands.child_environment(instance, secrets), stop_policy)


def mail_worker(instance: Instance, secrets: Mapping[str, str]) -> Service | None:
    if not secrets["OPERATOR_DATABASE_URL"]:
        return None
    command = [*commands.MANAGE, "run_worker"]
    return Service("The mail worker", command, commands.child_environment(instance, secrets), StopPolicy())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def supervise(instance: Instance, postgres: EmbeddedPostgres | None, services: Sequence[Service]) -> None:
    """Print the first steps once the service is ready, then check its processes forever.

    Raises: KeyboardInterrupt after a signal, StartError if a process exited and is not restarted.
    """
    checks = check_processes(postgres, services)
    notice_at = time.monotonic() + NOTICE_AFTER_SECONDS
    while (readiness := get_readiness(instance)) != "200":
        next(checks)
        if time.monotonic() > notice_at:
            log(f"Not ready yet: GET {instance.base_url}/readyz: {readiness}")
            notice_at = float("inf")
    log(first_steps(instance).rstrip())
    for _ in checks:
        pass


def check_processes(postgres: EmbeddedPostgres | None, services: Sequence[Service]) -> Iterator[None]:
    """Each step checks every child once and then sleeps.

    It also checks for make: a SIGKILL ends make alone, and what it started must end too.
    """
    parent = os.getppid()
    while True:
        if postgres and (status := postgres.poll()) is not None:
            message = f"PostgreSQL exited (status {status}); stopping everything"
            raise StartError(message)
        for service in services:
            service.restart_if_exited()
        if "MAKELEVEL" in os.environ and os.getppid() != parent:
            message = "make was killed; stopping everything"
            raise StartError(message)
        time.sleep(CHECK_INTERVAL_SECONDS)
        yield


def get_readiness(instance: Instance) -> str:
    """The status of GET /readyz, or why the request failed."""
    parts = urlsplit(instance.base_url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": instance.host_header})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
