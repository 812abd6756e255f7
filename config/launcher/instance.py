"""The facts of one running service: where it listens, where its files are, its secrets."""

import fcntl
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from environ import Env

from config.origins import default_origin, normal_origin

ROOT = Path(__file__).resolve().parents[2]
DATABASE_URLS = ("DATABASE_URL", "OPERATOR_DATABASE_URL", "OWNER_DATABASE_URL")
HIGHEST_PORT = 65535


class StartError(Exception):
    """Why the service can't start or go on, in one line."""


@dataclass(frozen=True)
class Instance:
    """What environment and `.env` log of it. The server's own settings read the rest."""

    host: str
    address: tuple[socket.AddressFamily, str]  # what `host` stands for: granian takes no names
    port: int
    data_dir: Path
    public_url: str
    given: Mapping[str, str]  # of SECRET_KEY, DATABASE_URLS and EMAIL_URL those that the user has set

    @property
    def env_file(self) -> Path:
        return self.data_dir / "instance.env"

    @property
    def metrics(self) -> Path:
        """Where each process keeps its numbers."""
        return self.data_dir / "metrics"

    @property
    def base_url(self) -> str:
        """Where this machine reaches the service."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address[1], self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def host_header(self) -> str:
        """One that the settings allow."""
        return urlsplit(self.public_url or default_origin(self.host, self.port)).netloc


def read_instance() -> Instance:
    facts = {**read_env(ROOT / ".env"), **os.environ}
    host = facts.get("HOST") or "127.0.0.1"
    given = {name: facts[name] for name in ("SECRET_KEY", *DATABASE_URLS, "EMAIL_URL") if facts.get(name)}
    if "DATABASE_URL" not in given and (half := given.keys() & set(DATABASE_URLS)):
        message = f"{min(half)} is set, DATABASE_URL is not: set both, or neither for an embedded PostgreSQL"
        raise StartError(message)
    return Instance(
        host=host,
        address=resolved(host),
        port=port_number(facts.get("PORT") or "8000"),
        data_dir=ROOT / (facts.get("DATA_DIR") or "var"),
        public_url=normal_origin(facts.get("PUBLIC_URL", "")) or "",  # the settings refuse what is none
        given=given,
    )


def read_env(path: Path) -> dict[str, str]:
    class FileEnv(Env):  # type: ignore[misc]
        ENVIRON: dict[str, str] = {}

    FileEnv.read_env(path)
    return FileEnv.ENVIRON


def resolved(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError:
        message = f"HOST takes an address of this machine, not {host}"
        raise StartError(message) from None
    return family, str(address[0])


def port_number(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST_PORT:
        return int(text)
    message = f"PORT takes a number from 1 to {HIGHEST_PORT}, not {text}"
    raise StartError(message)


def make_data_dir(instance: Instance) -> None:
    """Others may at most pass through: PostgreSQL's own user does, when root starts it."""
    path = instance.data_dir
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for private in ("mail", "log", "metrics"):
        (path / private).mkdir(mode=0o700, exist_ok=True)


def clear_metrics(instance: Instance) -> None:
    """The numbers of an earlier run would be added to those of this one."""
    for file in instance.metrics.glob("*.db"):
        file.unlink()


@contextmanager
def locked(instance: Instance) -> Iterator[None]:
    with (instance.data_dir / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"DATA_DIR {instance.data_dir} is in use by another instance: stop it, or set DATA_DIR"
            raise StartError(message) from None
        yield


@contextmanager
def port_reserved(instance: Instance) -> Iterator[None]:
    """Refuse a busy port, and keep a second launcher off it until granian listens.

    Granian shares its port with whoever does so too: two instances would divide the requests.
    """
    family, host = instance.address
    with socket.socket(socket.AF_UNIX) as turn, socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run linger
        try:
            if sys.platform == "linux":  # of two that bind at the same moment, both might
                turn.bind(f"\0port {host} {instance.port}")
            holder.bind((host, instance.port))
        except OSError as error:
            message = f"{instance.host}:{instance.port} is not free ({error.strerror}): set PORT or HOST"
            raise StartError(message) from None
        if sys.platform == "linux":  # bound alone, changed after: granian may share it, a plain bind may not
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            holder.close()
        yield


def saved_secret(instance: Instance) -> str:
    """SECRET_KEY: the user's, or one made once and kept with the data."""
    known = instance.given.get("SECRET_KEY") or read_env(instance.env_file).get("SECRET_KEY")
    if known:
        return known
    secret = secrets.token_urlsafe(64)
    save(instance, {"SECRET_KEY": secret})
    return secret


def save(instance: Instance, facts: Mapping[str, str]) -> None:
    """Put `facts` into `instance.env`, whole or not at all, for `manage.py` in other shells."""
    lines = [f"{name}={value}\n" for name, value in {**read_env(instance.env_file), **facts}.items()]
    unfinished = instance.env_file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text("".join(lines))
    unfinished.replace(instance.env_file)
