"""Reads typed settings from the environment. An error is one line: the setting's name and what it takes."""

import ipaddress
import re
from email.headerregistry import Address
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from environ.compat import ImproperlyConfigured as EnvironError

from .origins import a_labels, host_of, is_loopback, normal_origin

BASE_DIR = Path(__file__).resolve().parent.parent
MIN_SECRET_LENGTH = 32
INSTANCE_FILE = "instance.env"  # in DATA_DIR, written by the launcher
MAIL_SCHEMES = {  # scheme of EMAIL_URL → default port, and Django's setting for TLS
    "smtp": (25, None),
    "smtp+tls": (587, "EMAIL_USE_TLS"),  # STARTTLS
    "smtp+starttls": (587, "EMAIL_USE_TLS"),
    "smtps": (465, "EMAIL_USE_SSL"),  # TLS from the first byte
    "smtp+ssl": (465, "EMAIL_USE_SSL"),
}
MAIL_URL = "takes smtp+tls://USER:PASSWORD@HOST:PORT (or smtp, smtps), user and password percent-encoded"
MAILBOX = "takes one email address, or a name and an address: Acme <accounts@acme.example>"
MAX_NAME_LENGTH = 64  # of a sender; mail programs show no more


def invalid_setting(name: str, takes: str) -> NoReturn:
    """`takes` is the rest of the sentence: "takes true or false"."""
    message = f"{name} {takes}"
    raise ImproperlyConfigured(message)


class Environment:
    """The process environment, then the project's `.env`, then `instance.env` in DATA_DIR."""

    def __init__(self) -> None:
        self._env = environ.Env()
        dotenv = BASE_DIR / ".env"
        if dotenv.is_file():
            self._env.read_env(dotenv)
        self.data_dir = BASE_DIR / self.text("DATA_DIR", "var")
        self._read_instance()

    def _read_instance(self) -> None:
        """If DATABASE_URL is set, only the SECRET_KEY: the URLs in the file are of the embedded server."""
        instance = self.data_dir / INSTANCE_FILE
        if not instance.is_file():
            return
        is_embedded = not self.text("DATABASE_URL", "")
        for line in instance.read_text().splitlines():
            name, separator, value = line.partition("=")
            if separator and (is_embedded or name == "SECRET_KEY"):
                self._env.ENVIRON.setdefault(name, value)

    def text(self, name: str, default: str | None = None) -> str:
        value = str(self._env.ENVIRON.get(name, "")).strip()
        if value:
            return value
        if default is None:
            invalid_setting(name, "is not set: start the service with `make run`, or set it")
        return default

    def integer(self, name: str, default: int, *, minimum: int = 1, maximum: int = 2**31 - 1) -> int:
        text = self.text(name, str(default))
        # int() also accepts 1_000 and the digits of other scripts
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not minimum <= int(text) <= maximum:
            invalid_setting(name, f"takes a whole number from {minimum} to {maximum}")
        return int(text)

    def number(self, name: str, default: float) -> float:
        try:
            value = float(self.text(name, str(default)))
        except ValueError:
            invalid_setting(name, "takes a number of seconds above 0")
        if not 0 < value < 3600:  # noqa: PLR2004
            invalid_setting(name, "takes a number of seconds above 0")
        return value

    def boolean(self, name: str, default: bool) -> bool:  # noqa: FBT001
        value = self.text(name, str(default)).lower()
        if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            invalid_setting(name, "takes true or false")
        return value in {"true", "1", "yes", "on"}

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            invalid_setting(name, f"takes one of {', '.join(choices)}")
        return value

    def rate(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not re.fullmatch(r"[1-9]\d{0,8}/[smhd]", value):
            invalid_setting(name, "takes a number of requests and a window, like 10/m (s, m, h or d)")
        return value

    def secret(self, name: str) -> str:
        value = self.text(name)
        if len(value) < MIN_SECRET_LENGTH:
            invalid_setting(name, f"takes at least {MIN_SECRET_LENGTH} random characters")
        return value

    def words(self, name: str, pattern: str, takes: str) -> list[str]:
        """A list separated by commas. Each word must match `pattern`."""
        words = [word.strip() for word in self.text(name, "").split(",") if word.strip()]
        if not all(re.fullmatch(pattern, word) for word in words):
            invalid_setting(name, takes)
        return words

    def host(self, name: str, default: str) -> str:
        value = self.text(name, default)
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", value):
            invalid_setting(name, "takes an address or a host name to listen on")
        return value

    def url(self, name: str, default: str, *schemes: str) -> str:
        value = self.text(name, default).rstrip("/")
        if value and not _is_url(value, schemes):
            invalid_setting(name, f"takes {schemes[0]}://HOST")
        return value

    def pem(self, name: str) -> str:
        return self.text(name, "").replace("\\n", "\n").strip()

    def database(self, name: str) -> dict[str, Any] | None:
        """A database configuration from its URL, None if it is not set."""
        url = self.text(name, "")
        if not url:
            return None
        try:
            config: dict[str, Any] = self._env.db_url(name, engine="tenancy.postgresql")
        except (ValueError, EnvironError, KeyError):
            config = {}
        # for another scheme django-environ only warns
        if not (re.match(r"postgres(ql)?://", url) and config.get("USER") and config.get("NAME")):
            invalid_setting(name, "takes postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        config["HOST"] = unquote(config["HOST"])  # %2Fsocket%2Fdirectory
        return config

    def mail(self) -> dict[str, Any]:
        """Django's EMAIL_* settings from EMAIL_URL, {} if it is not set."""
        url = self.text("EMAIL_URL", "")
        if not url:
            return {}
        if not _is_url(url, tuple(MAIL_SCHEMES)):
            invalid_setting("EMAIL_URL", MAIL_URL)
        parts = urlsplit(url)
        user, password = (unquote(text or "") for text in (parts.username, parts.password))
        if parts.path.strip("/") or parts.query or parts.fragment:
            invalid_setting("EMAIL_URL", f"{MAIL_URL}, without path and parameters")
        if bool(user) != bool(password) or not (user + password).isascii():  # smtplib sends them as ASCII
            invalid_setting("EMAIL_URL", f"{MAIL_URL}: both or neither, in ASCII")
        return _mail_server(parts, user, password)

    def mailbox(self, name: str, default: str) -> str:
        """`NAME <ADDRESS>` or `ADDRESS`, formatted for a header (RFC 5322, 3.4)."""
        value = self.text(name, "")
        mailbox = _mailbox(value) if value else default
        if mailbox is None:
            invalid_setting(name, MAILBOX)
        return mailbox

    def mail_host(self, name: str, default: str) -> str:
        """The argument of EHLO (RFC 5321, 4.1.1.1): a domain, or an IP address in brackets."""
        value = self.text(name, default)
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Za-z0-9:.]+\]", value):
            invalid_setting(name, "takes a host name, or an IP address in brackets")
        return value

    def public_url(self, default: str, *, debug: bool) -> str:
        url = normal_origin(self.text("PUBLIC_URL", default))
        if url is None:
            invalid_setting("PUBLIC_URL", "takes https://HOST or http://HOST:PORT, without a path")
        if url.startswith("http:") and not debug and not is_loopback(host_of(url)):
            invalid_setting("PUBLIC_URL", "takes https:// unless its host is this machine (localhost)")
        return url


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError if it is malformed
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not re.search(r"\s", value)


def _mailbox(value: str) -> str | None:
    """The mailbox with its name quoted if necessary and its domain in ASCII; None if it is malformed."""
    match = re.fullmatch(r'"?([^<>"]*?)"?\s*<([^<>\s]+)>|([^<>\s]+)', value)
    name, address = (match[1] or "", match[2] or match[3]) if match else ("", "")
    local, _, domain = address.rpartition("@")
    try:
        address = f"{local}@{a_labels(domain)}"
        validate_email(address)
    except (ValidationError, UnicodeError):
        return None
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        return None
    return str(Address(name.strip(), addr_spec=address))


def _mail_server(parts: SplitResult, user: str, password: str) -> dict[str, Any]:
    port, tls = MAIL_SCHEMES[parts.scheme]
    return {
        "EMAIL_BACKEND": "accounts.mail.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or port,
        "EMAIL_HOST_USER": user,
        "EMAIL_HOST_PASSWORD": password,
    } | ({tls: True} if tls else {})


def mail_domain(host: str) -> str:
    """The host of a URL as the domain of an email address: IP addresses in brackets (RFC 5321, 4.1.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004
