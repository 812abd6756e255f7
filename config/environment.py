"""Typed reads of the environment; each refusal is one line that names the setting and what it takes."""

import re
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.compat import ImproperlyConfigured as EnvironError

from .origins import host_of, is_loopback, normal_origin

BASE_DIR = Path(__file__).resolve().parent.parent
SHORTEST_SECRET = 32
INSTANCE_FILE = "instance.env"  # in DATA_DIR, written by the launcher


def refuse(name: str, takes: str) -> NoReturn:
    message = f"{name} {takes}"
    raise ImproperlyConfigured(message)


class Environment:
    """The process environment, then `.env` of the project, then the instance in DATA_DIR."""

    def __init__(self) -> None:
        self._env = environ.Env()
        dotenv = BASE_DIR / ".env"
        if dotenv.is_file():
            self._env.read_env(dotenv)
        self.data_dir = BASE_DIR / (self.text("DATA_DIR", "var"))
        self.embedded = not self.text("DATABASE_URL", "")
        self._read_instance()

    def _read_instance(self) -> None:
        """The roles' passwords of an embedded server; of somebody else's, the SECRET_KEY alone."""
        instance = self.data_dir / INSTANCE_FILE
        if not instance.is_file():
            return
        known = dict(line.split("=", 1) for line in instance.read_text().splitlines() if "=" in line)
        if not self.embedded:
            known = {"SECRET_KEY": known["SECRET_KEY"]} if "SECRET_KEY" in known else {}
        for name, value in known.items():
            self._env.ENVIRON.setdefault(name, value)

    def text(self, name: str, default: str | None = None) -> str:
        value = str(self._env.ENVIRON.get(name, "")).strip()
        if value:
            return value
        if default is None:
            refuse(name, "is not set: start the service with `make run`, or set it")
        return default

    def integer(self, name: str, default: int, *, least: int = 1, most: int = 2**31 - 1) -> int:
        text = self.text(name, str(default))
        # int() reads more than people write: 1_000, digits of every script
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not least <= int(text) <= most:
            refuse(name, f"takes a whole number from {least} to {most}")
        return int(text)

    def number(self, name: str, default: float) -> float:
        try:
            value = float(self.text(name, str(default)))
        except ValueError:
            refuse(name, "takes a number of seconds above 0")
        if not 0 < value < 3600:  # noqa: PLR2004
            refuse(name, "takes a number of seconds above 0")
        return value

    def boolean(self, name: str, default: bool) -> bool:  # noqa: FBT001
        value = self.text(name, str(default)).lower()
        if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            refuse(name, "takes true or false")
        return value in {"true", "1", "yes", "on"}

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            refuse(name, f"takes one of {', '.join(choices)}")
        return value

    def rate(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not re.fullmatch(r"[1-9]\d{0,8}/[smhd]", value):
            refuse(name, "takes a number of requests and a window, like 10/m (s, m, h or d)")
        return value

    def secret(self, name: str) -> str:
        value = self.text(name)
        if len(value) < SHORTEST_SECRET:
            refuse(name, f"takes at least {SHORTEST_SECRET} random characters")
        return value

    def words(self, name: str, pattern: str, takes: str) -> list[str]:
        """Separated by commas, each of them matching `pattern`."""
        words = [word.strip() for word in self.text(name, "").split(",") if word.strip()]
        if not all(re.fullmatch(pattern, word) for word in words):
            refuse(name, takes)
        return words

    def host(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", value):
            refuse(name, "takes an address or a host name to listen on")
        return value

    def url(self, name: str, default: str, *schemes: str) -> str:
        value = self.text(name, default).rstrip("/")
        if value and not _is_url(value, schemes):
            refuse(name, f"takes {schemes[0]}://HOST")
        return value

    def pem(self, name: str) -> str:
        return self.text(name, "").replace("\\n", "\n").strip()

    def database(self, name: str) -> dict[str, Any] | None:
        """A connection from its URL, None where it is unset."""
        if not self.text(name, ""):
            return None
        if not re.match(r"postgres(ql)?://", self.text(name)):  # django-environ would only warn
            refuse(name, "takes postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        try:
            config: dict[str, Any] = self._env.db_url(name, engine="tenancy.postgresql")
        except (ValueError, EnvironError, KeyError):
            refuse(name, "takes postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        if not (config.get("USER") and config.get("NAME")):
            refuse(name, "takes postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        config["HOST"] = unquote(config["HOST"])  # %2Fsocket%2Fdirectory
        return config

    def mail(self) -> dict[str, Any]:
        """Django's EMAIL_* settings from EMAIL_URL, {} where it is unset."""
        if not self.text("EMAIL_URL", ""):
            return {}
        try:
            config: dict[str, Any] = self._env.email_url("EMAIL_URL")
        except (ValueError, KeyError, EnvironError):
            refuse("EMAIL_URL", "takes smtp+tls://USER:PASSWORD@HOST:PORT")
        if config["EMAIL_BACKEND"].endswith("smtp.EmailBackend") and not config.get("EMAIL_HOST"):
            refuse("EMAIL_URL", "takes smtp+tls://USER:PASSWORD@HOST:PORT")
        return config

    def public_url(self, default: str, *, debug: bool) -> str:
        url = normal_origin(self.text("PUBLIC_URL", default))
        if url is None:
            refuse("PUBLIC_URL", "takes https://HOST or http://HOST:PORT, without a path")
        if url.startswith("http:") and not debug and not is_loopback(host_of(url)):
            refuse("PUBLIC_URL", "takes https:// for a host that is not this machine's own")
        return url


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        _ = parts.port  # ValueError: not a port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not re.search(r"\s", value)
