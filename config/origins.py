"""Normalizes origins to the form that browsers send (RFC 6454 § 4). Imports no Django."""

import ipaddress
import re
from urllib.parse import urlsplit

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# a host whose last label is a number is an IPv4 address (WHATWG URL)
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


def normal_origin(text: str) -> str | None:
    """`scheme://host[:port]`: lower case, A-labels, no default port or final dot; None if it is malformed."""
    try:
        parts = urlsplit(text.rstrip("/"))
        port = parts.port
        host = _normal_host(parts.hostname or "", is_literal="[" in parts.netloc)
    except (ValueError, UnicodeError):
        return None
    is_bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in DEFAULT_PORTS or not host or not is_bare or port == 0 or re.search(r"\s", text):
        return None
    return f"{parts.scheme}://{host}" + ("" if port in {None, DEFAULT_PORTS[parts.scheme]} else f":{port}")


def _normal_host(host: str, *, is_literal: bool) -> str | None:
    """Raises: ValueError or UnicodeError (idna.IDNAError is one) if it is malformed."""
    if is_literal:
        return f"[{ipaddress.IPv6Address(host)}]" if "%" not in host else None
    name = a_labels(host.removesuffix("."))
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(name))
    return name if _NAME.fullmatch(name) else None


def a_labels(name: str) -> str:
    """A domain name in lower-case ASCII (IDNA2008, UTS 46 nontransitional).

    Raises: UnicodeError.
    """
    if name.isascii():
        return name.lower()
    return idna.encode(name, uts46=True, std3_rules=True).decode().removesuffix(".")


def default_origin(host: str, port: int) -> str:
    """The origin of a service that listens on `host`, for clients on the same machine."""
    name = host if is_loopback(host) else "localhost"
    return str(normal_origin(f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"))


def host_of(origin: str) -> str:
    """The host without the port; an IPv6 address in brackets."""
    netloc = urlsplit(origin).netloc
    return netloc.partition("]")[0] + "]" if netloc.startswith("[") else netloc.partition(":")[0]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
