"""Runs the server alone (granian with worker processes) on a free port, on the database of the tests.

`launched_service` also runs the mail worker, as the launcher does.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from config.launcher.instance import ROOT
from config.launcher.process import ManagedProcess

from .external_servers import free_port

# an empty variable counts as not set
STANDARD_LIMITS = {f"RATE_LIMIT_{scope.upper()}": "" for scope in settings.RATE_LIMITS}
NO_LIMITS = {f"RATE_LIMIT_{scope.upper()}": "1000000/m" for scope in settings.RATE_LIMITS}
FULL_COST = {"ARGON2_MEMORY_COST": "65536", "ARGON2_TIME_COST": "3", "ARGON2_PARALLELISM": "4"}
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The `code` of a problem response; "" for other responses."""
        is_problem = self.headers.get("content-type") == "application/problem+json"
        return str(self.json()["code"]) if is_problem else ""


@dataclass(frozen=True)
class LiveServer:
    """A running server. It trusts one proxy, so that `ip` sets the client address of a request."""

    port: int
    log: Path
    child: ManagedProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(
        self, method: str, path: str, body: Any = None, *, ip: str = "", token: str = "", **headers: str
    ) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        request_headers = {"Content-Type": "application/json", "Connection": "close", **headers}
        if ip:
            request_headers["X-Forwarded-For"] = ip
        if token:
            request_headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            url = path if path.startswith("/") else f"/api/v1/auth/{path}"
            connection.request(method, url, data, request_headers)
            response = connection.getresponse()
            return Reply(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return self.call("POST", path, body, **more)

    def send(self, start: bytes, *lines: bytes, body: bytes = b"") -> Reply:
        """Send a raw request: its first line without the version, and its header lines."""
        head = [start + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *lines]
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS) as client:
            client.sendall(b"\r\n".join([*head, b"", body]))
            response = http.client.HTTPResponse(client, method=start.partition(b" ")[0].decode("latin-1"))
            response.begin()
            return Reply(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})

    def workers(self) -> list[int]:
        """The process ids of granian's workers."""
        ps = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.child.pid)], capture_output=True, check=False
        )
        return [int(line) for line in ps.stdout.split()]


@contextlib.contextmanager
def run_server(
    directory: Path, *, workers: int = 4, application: str = "config.wsgi:application", **env: str
) -> Iterator[LiveServer]:
    """Start the server and wait until it is ready. `env` overrides the tests' environment."""
    port = int(env.pop("PORT", 0)) or free_port()
    environ: Mapping[str, str] = {
        **os.environ,
        **STANDARD_LIMITS,
        "OWNER_DATABASE_URL": "",
        "TRUSTED_PROXY_COUNT": "1",
        "PORT": str(port),
        "LOG_LEVEL": "WARNING",
        "WORKER_THREADS": "24",
        **env,
    }
    command = [sys.executable, "-m", "config.launcher.granian", "--interface", "wsgi", application]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command += ["--blocking-threads", environ["WORKER_THREADS"], "--http", "1", "--no-ws"]
    command += ["--respawn-failed-workers", "--log-level", "error"]
    log = directory / f"served-{port}.log"
    with log.open("wb") as output:
        child = ManagedProcess(command, env=environ, cwd=ROOT, output=output)
    try:
        served = LiveServer(port, log, child)
        _wait_until_ready(served)
        yield served
    finally:
        child.stop()


def _wait_until_ready(served: LiveServer) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline and served.child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if served.call("GET", "/readyz").status == 200:
                return
        time.sleep(0.02)
    message = f"the server did not start: {served.log.read_text()[-2000:]}"
    raise AssertionError(message)
