"""One instance of the service: its address, its files in DATA_DIR and its secrets."""

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
MAX_PORT = 65535


class StartError(Exception):
    """The service can't start, or must stop. The message is one line."""


@dataclass(frozen=True)
class Instance:
    """The settings that the launcher needs, from environment and `.env`. The server reads the others."""

    host: str
    address: tuple[socket.AddressFamily, str]  # of `host`: granian accepts no names
    port: int
    data_dir: Path
    public_url: str
    given: Mapping[str, str]  # SECRET_KEY, DATABASE_URLS and EMAIL_URL, if the user has set them

    @property
    def env_file(self) -> Path:
        return self.data_dir / "instance.env"

    @property
    def metrics(self) -> Path:
        """The folder in which prometheus_client keeps one file for each process."""
        return self.data_dir / "metrics"

    @property
    def base_url(self) -> str:
        """The URL of the service on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address[1], self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def host_header(self) -> str:
        """A host that ALLOWED_HOSTS accepts."""
        return urlsplit(self.public_url or default_origin(self.host, self.port)).netloc


def read_instance() -> Instance:
    values = {**read_env(ROOT / ".env"), **os.environ}
    host = values.get("HOST") or "127.0.0.1"
    given = {name: values[name] for name in ("SECRET_KEY", *DATABASE_URLS, "EMAIL_URL") if values.get(name)}
    if "DATABASE_URL" not in given and (others := given.keys() & set(DATABASE_URLS)):
        message = (
            f"{min(others)} is set, DATABASE_URL is not: set both, or neither for an embedded PostgreSQL"
        )
        raise StartError(message)
    return Instance(
        host=host,
        address=resolve(host),
        port=parse_port(values.get("PORT") or "8000"),
        data_dir=ROOT / (values.get("DATA_DIR") or "var"),
        public_url=normal_origin(values.get("PUBLIC_URL", "")) or "",  # the settings refuse a malformed one
        given=given,
    )


def read_env(path: Path) -> dict[str, str]:
    class FileEnv(Env):  # type: ignore[misc]
        ENVIRON: dict[str, str] = {}

    FileEnv.read_env(path)
    return FileEnv.ENVIRON


def resolve(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError:
        message = f"HOST takes an address of this machine, not {host}"
        raise StartError(message) from None
    return family, str(address[0])


def parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PORT:
        return int(text)
    message = f"PORT takes a whole number from 1 to {MAX_PORT}, not {text}"
    raise StartError(message)


def make_data_dir(instance: Instance) -> None:
    """Create DATA_DIR, closed to other users. If root starts the service, PostgreSQL's user may enter it."""
    path = instance.data_dir
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for private in ("mail", "log", "metrics"):
        (path / private).mkdir(mode=0o700, exist_ok=True)


def clear_metrics(instance: Instance) -> None:
    """Delete the files of earlier runs; their values would be added to those of this run."""
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
    """Refuse a port that is in use, and keep other launchers off it until granian listens.

    Granian listens with SO_REUSEPORT. Without this reservation a second instance could bind the same port,
    and the kernel would distribute the requests between the two.
    """
    family, host = instance.address
    with socket.socket(socket.AF_UNIX) as mutex, socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for TIME_WAIT
        try:
            if sys.platform == "linux":  # two launchers that bind at the same moment might both succeed
                mutex.bind(f"\0port {host} {instance.port}")
            holder.bind((host, instance.port))
        except OSError as error:
            message = f"{instance.host}:{instance.port} is not available ({error.strerror}): set PORT or HOST"
            raise StartError(message) from None
        if sys.platform == "linux":  # set after the bind: only sockets with SO_REUSEPORT can share it now
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        else:
            holder.close()
        yield


def saved_secret(instance: Instance) -> str:
    """The user's SECRET_KEY, or one that is generated once and saved in DATA_DIR."""
    existing = instance.given.get("SECRET_KEY") or read_env(instance.env_file).get("SECRET_KEY")
    if existing:
        return existing
    secret = secrets.token_urlsafe(64)
    save(instance, {"SECRET_KEY": secret})
    return secret


def save(instance: Instance, values: Mapping[str, str]) -> None:
    """Add `values` to `instance.env`, atomically. `manage.py` reads the file in other shells."""
    lines = [f"{name}={value}\n" for name, value in {**read_env(instance.env_file), **values}.items()]
    unfinished = instance.env_file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text("".join(lines))
    unfinished.replace(instance.env_file)
