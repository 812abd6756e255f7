"""Starts the servers that the service depends on: PostgreSQL, Redis, PgBouncer, and PostgreSQL on a remote host."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis as redis_py

from config.launcher.instance import DATABASE_URLS, ROOT
from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.system_user import server_user
from config.launcher.process import ManagedProcess, StopPolicy, wait_until

from .environment import ROLES

Env = dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(program: str, package: str) -> str:
    """The path of the program; skips the test if it is missing."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: apt install {package})")
    return path


def manage(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    return subprocess.run(
        command, env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )


@contextlib.contextmanager
def own_postgres(directory: Path, **settings: str) -> Iterator[tuple[EmbeddedPostgres, Env]]:
    """A separate, migrated cluster that a test may stop; yields the server and its database URLs."""
    with EmbeddedPostgres(directory / "postgres", settings=settings) as server:
        server.ensure_database("auth", ROLES)
        users = (ROLES.app, ROLES.operator, ROLES.owner)
        env = {name: server.url(user, "auth") for name, user in zip(DATABASE_URLS, users, strict=True)}
        for command in ("migrate", "ensure_signing_key"):
            result = manage(command, **env)
            assert result.returncode == 0, result.stderr
        yield server, env
    shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Redis:
    program: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([self.program, *options], stdout=subprocess.DEVNULL)
        assert wait_until(self._is_ready, within=10)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    def lifetimes(self) -> list[int]:
        """Seconds until each key expires."""
        client = redis_py.Redis(port=self.port)
        with contextlib.closing(client):
            return [int(client.ttl(key)) for key in client.scan_iter()]

    def send(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process:
            self.send(signal.SIGCONT)
            self.send(number)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def own_redis() -> Iterator[Redis]:
    server = Redis(find_program("redis-server", "redis-server"), free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def documented_config(language: str, containing: str) -> str:
    """The code block of docs/operations.md that contains a text."""
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return str(block)


@contextlib.contextmanager
def pgbouncer(server: EmbeddedPostgres, env: Env, **changes: str) -> Iterator[Env]:
    """PgBouncer before `server`, configured as in docs/operations.md; yields the URLs of `env` through it."""
    program, port = find_program("pgbouncer", "pgbouncer"), free_port()
    urls = {name: urlsplit(env[name]) for name in ("DATABASE_URL", "OPERATOR_DATABASE_URL")}
    user = server_user(server.data, lambda _line: None)
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        folder = Path(directory)
        users = [f'"{url.username}" "{unquote(str(url.password))}"\n' for url in urls.values()]
        (folder / "users.txt").write_text("".join(users))
        ini = documented_config("ini", "[pgbouncer]").replace("auth = host=10.0.0.5 port=5432", "* = host={}")
        ini = ini.format(server.socket_directory).replace("6432", f"{port}\nunix_socket_dir =")
        for name, value in changes.items():
            ini = re.sub(f"{name} = .*", f"{name} = {value}", ini)
        (folder / "pgbouncer.ini").write_text(ini.replace("/etc/pgbouncer", directory))
        for path in (folder, *folder.iterdir()):
            user.chown(path, 0o700)
        log = folder / "log"
        with log.open("wb") as output:
            stop_policy = StopPolicy(signal.SIGINT, 5, user.uid, user.gid)
            command: list[str | Path] = [program, folder / "pgbouncer.ini"]
            child = ManagedProcess(
                command, env={"PATH": os.environ["PATH"]}, stop_policy=stop_policy, output=output
            )
        try:
            assert wait_until(lambda: _listens(port), within=10), log.read_text()
            yield {
                name: f"postgres://{url.username}:{url.password}@127.0.0.1:{port}{url.path}"
                for name, url in urls.items()
            }
        finally:
            child.stop()


REMOTE_NETWORK = "10.250.77"
FORWARD = """
import asyncio, sys

async def pump(source, sink):
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()

async def forward(*client):
    server = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(client[0], server[1]), pump(server[0], client[1]), return_exceptions=True)

async def main():
    await (await asyncio.start_server(forward, "0.0.0.0", 5432)).serve_forever()

asyncio.run(main())
"""


@dataclass
class RemoteHost:
    """PostgreSQL behind a network that can be cut: packets are lost, and no connection is refused."""

    namespace: str
    env: Env

    def cut_network(self) -> None:
        ip("-n", self.namespace, "link", "set", "remote", "down")

    def restore_network(self) -> None:
        ip("-n", self.namespace, "link", "set", "remote", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def remote_host(server: EmbeddedPostgres, env: Env) -> Iterator[RemoteHost]:
    """A network namespace from which a forwarder leads to `server`; skips the test if that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root can create a network namespace")
    name = f"remote-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not available")
    try:
        ip("link", "add", "local", "type", "veth", "peer", "name", "remote", "netns", name)
        ip("addr", "add", f"{REMOTE_NETWORK}.1/30", "dev", "local")
        ip("link", "set", "local", "up")
        ip("-n", name, "addr", "add", f"{REMOTE_NETWORK}.2/30", "dev", "remote")
        ip("-n", name, "link", "set", "remote", "up")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", FORWARD]
        child = ManagedProcess([*command, server.socket_directory / ".s.PGSQL.5432"], env=os.environ)
        urls = {key: urlsplit(env[key]) for key in ("DATABASE_URL", "OPERATOR_DATABASE_URL")}
        try:
            assert wait_until(lambda: _listens(5432, f"{REMOTE_NETWORK}.2"), within=10)
            yield RemoteHost(
                name,
                {
                    key: f"postgres://{url.username}:{url.password}@{REMOTE_NETWORK}.2:5432{url.path}"
                    for key, url in urls.items()
                },
            )
        finally:
            child.stop()
    finally:
        ip("netns", "del", name)


def _listens(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False
