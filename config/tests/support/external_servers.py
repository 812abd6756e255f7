"""Servers that the service leans on, one's own of each: to be stopped, starved and put in between."""

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


def installed(program: str, package: str) -> str:
    """The program's path; the test is skipped where it is missing."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt install {package})")
    return found


def manage(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    return subprocess.run(
        command, env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )


@contextlib.contextmanager
def own_postgres(place: Path, **settings: str) -> Iterator[tuple[EmbeddedPostgres, Env]]:
    """A migrated cluster to itself, and the environment that leads to it.

    Roles belong to a cluster, and so does whoever stops it.
    """
    with EmbeddedPostgres(place / "postgres", settings=settings) as server:
        server.ensure_database("auth", ROLES)
        users = (ROLES.app, ROLES.operator, ROLES.owner)
        env = {name: server.url(user, "auth") for name, user in zip(DATABASE_URLS, users, strict=True)}
        for command in ("migrate", "ensure_signing_key"):
            done = manage(command, **env)
            assert done.returncode == 0, done.stderr
        yield server, env
    shutil.rmtree(place, ignore_errors=True)


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
        assert wait_until(self._answers, within=10)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as door:
            door.sendall(b"PING\r\n")
            return door.recv(16).startswith(b"+PONG")
        return False

    def lifetimes(self) -> list[int]:
        """Seconds until each key is forgotten."""
        client = redis_py.Redis(port=self.port)
        with contextlib.closing(client):
            return [int(client.ttl(key)) for key in client.scan_iter()]

    def send(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process:
            self.send(signal.SIGCONT)
            self.send(how)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def own_redis() -> Iterator[Redis]:
    server = Redis(installed("redis-server", "redis-server"), free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def prescribed(language: str, holding: str) -> str:
    """The code block of DEPLOYMENT.md in which these words stand."""
    text = (ROOT / "DEPLOYMENT.md").read_text()
    (block,) = (one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if holding in one)
    return str(block)


@contextlib.contextmanager
def pgbouncer(server: EmbeddedPostgres, env: Env, **changes: str) -> Iterator[Env]:
    """The PgBouncer of DEPLOYMENT.md before `server`; yields the URLs of `env` led through it."""
    program, port = installed("pgbouncer", "pgbouncer"), free_port()
    urls = {name: urlsplit(env[name]) for name in ("DATABASE_URL", "OPERATOR_DATABASE_URL")}
    user = server_user(server.data, lambda _line: None)
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        place = Path(directory)
        known = [f'"{url.username}" "{unquote(str(url.password))}"\n' for url in urls.values()]
        (place / "users.txt").write_text("".join(known))
        ini = prescribed("ini", "[pgbouncer]").replace("auth = host=10.0.0.5 port=5432", "* = host={}")
        ini = ini.format(server.socket_directory).replace("6432", f"{port}\nunix_socket_dir =")
        for name, value in changes.items():
            ini = re.sub(f"{name} = .*", f"{name} = {value}", ini)
        (place / "pgbouncer.ini").write_text(ini.replace("/etc/pgbouncer", directory))
        for path in (place, *place.iterdir()):
            user.chown(path, 0o700)
        log = place / "log"
        with log.open("wb") as output:
            stop_policy = StopPolicy(signal.SIGINT, 5, user.uid, user.gid)
            command: list[str | Path] = [program, place / "pgbouncer.ini"]
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


FAR = "10.250.77"
FORWARD = """
import asyncio, sys

async def pump(source, sink):
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()

async def forward(*near):
    far = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(near[0], far[1]), pump(far[0], near[1]), return_exceptions=True)

async def main():
    await (await asyncio.start_server(forward, "0.0.0.0", 5432)).serve_forever()

asyncio.run(main())
"""


@dataclass
class FarHost:
    """The server as if it stood on another machine, which can fall silent: nothing refuses, nothing answers."""

    namespace: str
    env: Env

    def fall_silent(self) -> None:
        ip("-n", self.namespace, "link", "set", "far", "down")

    def speak_again(self) -> None:
        ip("-n", self.namespace, "link", "set", "far", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def far_away(server: EmbeddedPostgres, env: Env) -> Iterator[FarHost]:
    if os.geteuid() != 0:
        pytest.skip("only root can make another host")
    name = f"far-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespace can be made here")
    try:
        ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{FAR}.1/30", "dev", "near")
        ip("link", "set", "near", "up")
        ip("-n", name, "addr", "add", f"{FAR}.2/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", FORWARD]
        child = ManagedProcess([*command, server.socket_directory / ".s.PGSQL.5432"], env=os.environ)
        urls = {key: urlsplit(env[key]) for key in ("DATABASE_URL", "OPERATOR_DATABASE_URL")}
        try:
            assert wait_until(lambda: _listens(5432, f"{FAR}.2"), within=10)
            yield FarHost(
                name,
                {
                    key: f"postgres://{url.username}:{url.password}@{FAR}.2:5432{url.path}"
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
