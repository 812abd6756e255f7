"""Behind nginx as configured in docs/operations.md: slow clients, limits, graceful stops and zero-downtime releases."""

import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from config.launcher.process import ManagedProcess, StopPolicy, wait_until
from config.tests.support.consistency_load import (
    SimulatedCreator,
    assert_consistent,
    insert_creators,
    responses,
    running_load,
)
from config.tests.support.external_servers import documented_config, find_program, free_port, own_postgres
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server

pytestmark = pytest.mark.slow
SLOW_CLIENTS = 64
BODY_TIMEOUT_SECONDS = 10


@dataclass
class Nginx:
    """nginx with the configuration of docs/operations.md, without TLS and on a free port."""

    program: str
    directory: Path
    port: int
    master: int = 0

    def write(self, upstream: int) -> None:
        server = re.sub(r" *ssl_.*\n", "", documented_config("nginx", "upstream"))
        server = server.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port}")
        server = server.replace("127.0.0.1:8001", f"127.0.0.1:{upstream}")
        temporary = "".join(
            f"{name}_temp_path {self.directory}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.directory / "nginx.conf").write_text(
            f"daemon off;\npid {self.directory}/pid;\nerror_log stderr warn;\nworker_processes 1;\n"
            f"events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        command: list[str | Path] = [self.program, "-e", "stderr", "-c", self.directory / "nginx.conf"]
        child = ManagedProcess(
            command, env={"PATH": os.environ["PATH"]}, stop_policy=StopPolicy(signal.SIGQUIT, 5)
        )
        self.master = child.pid
        try:
            assert wait_until(self._listens, within=10)
            yield
        finally:
            child.stop()

    def reload(self) -> None:
        os.kill(self.master, signal.SIGHUP)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        Path(directory).chmod(0o755)
        yield Nginx(find_program("nginx", "nginx-light"), Path(directory), free_port())


@pytest.fixture
def proxied(nginx: Nginx, transactional_db: None, tmp_path: Path) -> Iterator[LiveServer]:
    with run_server(tmp_path, workers=1, **NO_LIMITS) as served:
        nginx.write(served.port)
        with nginx.running():
            yield replace(served, port=nginx.port)


def send(port: int, text: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(text.encode())
    return client


def send_head(port: int, path: str, length: int) -> socket.socket:
    """Send the headers of a POST, but not its body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return send(port, f"{head}Content-Length: {length}\r\n\r\n")


def test_half_sent_requests_block_nobody_and_time_out(proxied: LiveServer) -> None:
    start = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n"
    body = f"{start}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    clients = [send(proxied.port, text) for text in (start, body) for _ in range(SLOW_CLIENTS // 2)]
    try:
        for _ in range(20):
            began = time.monotonic()
            assert proxied.call("GET", "/readyz").status == 200
            assert time.monotonic() - began < 1
        for client in clients:
            client.settimeout(BODY_TIMEOUT_SECONDS + 5)
            assert client.recv(4096)[:12] in {b"HTTP/1.1 408", b""}
    finally:
        for client in clients:
            client.close()


def test_bodies_and_headers_are_limited(proxied: LiveServer) -> None:
    long = proxied.post("login", {"email": "a" * 100_000})
    assert (long.status, long.code) == (413, "body_too_large")
    assert proxied.post("login", {"email": "a" * 2**21}).status == 413
    assert proxied.call("GET", "/healthz", **{"X-Long": "a" * 40_000}).status == 400
    assert proxied.call("GET", "/healthz?" + "a" * 40_000).status == 414


def test_response_waits_until_the_body_is_sent(transactional_db: None, tmp_path: Path) -> None:
    login = "/api/v1/auth/login"
    with run_server(tmp_path, workers=1, **NO_LIMITS) as served:
        for path, size, status in ((login, 100_000, 413), (login, 2**20, 413), ("/nowhere", 60_000, 404)):
            with send_head(served.port, path, size) as client:
                time.sleep(0.3)  # enough for a server that responds and closes early
                for sent in range(0, size, 1000):
                    client.sendall(b"a" * min(1000, size - sent))
                assert client.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_drained_bodies_hold_few_threads(transactional_db: None, tmp_path: Path) -> None:
    with (
        run_server(tmp_path, workers=1, **NO_LIMITS | {"RATE_LIMIT_REFRESH": "1/m"}) as served,
        ExitStack() as clients,
    ):
        served.post("refresh", {})
        for path in ("/healthz", "/api/v1/auth/refresh"):
            for _ in range(SLOW_CLIENTS):
                clients.enter_context(send_head(served.port, path, 10))
        for _ in range(20):
            began = time.monotonic()
            assert served.call("GET", "/healthz").status == 200
            assert time.monotonic() - began < 1


def test_client_address_comes_from_nginx(proxied: LiveServer, superuser: psycopg.Connection) -> None:
    proxied.post("login", {"email": "ada@example.com", "password": "wrong"}, ip="203.0.113.9")
    rows = superuser.execute("SELECT host(ip_address) FROM audit_personal_data").fetchall()
    assert rows == [("127.0.0.1",)]


def test_stopped_server_finishes_its_requests(
    transactional_db: None, tmp_path: Path, superuser: psycopg.Connection
) -> None:
    (account,) = insert_creators(superuser, 1)
    marks = tmp_path / "marks"
    slow = {
        "DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings",
        "HASH_MARKS": str(marks),
        "HASH_SECONDS": "1",
    }
    with run_server(tmp_path, workers=1, **NO_LIMITS, **slow) as served, ThreadPoolExecutor(1) as pool:
        body = {"email": account.email, "password": account.password}
        reply = pool.submit(served.post, "login", body)
        assert wait_until(marks.exists, within=10)
        os.kill(served.child.pid, signal.SIGTERM)
        assert reply.result(timeout=20).status == 200
        assert wait_until(lambda: served.child.poll() is not None, within=20)


def test_a_release_causes_no_failed_request(nginx: Nginx, tmp_path: Path) -> None:
    """As in docs/operations.md: migrate, start the new release beside the old one, switch the upstream."""
    with (
        own_postgres(tmp_path) as (server, env),
        psycopg.connect(server.superuser_url("auth"), autocommit=True) as superuser,
    ):
        creators = [SimulatedCreator(account) for account in insert_creators(superuser, 6)]
        release = NO_LIMITS | env | {"PUBLIC_URL": f"http://127.0.0.1:{nginx.port}"}
        with ExitStack() as new, ExitStack() as load, ExitStack() as old:
            first = old.enter_context(run_server(tmp_path, workers=2, **release))
            nginx.write(first.port)
            new.enter_context(nginx.running())
            load.enter_context(running_load(creators, replace(first, port=nginx.port).call))
            assert wait_until(lambda: min(len(creator.names) for creator in creators) > 2, within=20)
            migrate(env)
            nginx.write(new.enter_context(run_server(tmp_path, workers=2, **release)).port)
            nginx.reload()
            time.sleep(2)
            old.close()
            time.sleep(1)
        assert {(response.status, response.code) for response in responses(creators)} == {(200, "")}
        assert_consistent(superuser, creators)


def migrate(env: dict[str, str]) -> None:
    with psycopg.connect(env["OWNER_DATABASE_URL"]) as owner:
        owner.execute("SET lock_timeout = '2s'")
        owner.execute("ALTER TABLE creators ADD COLUMN nickname text NOT NULL DEFAULT ''")
