"""Where the service is reached, in the one spelling that browsers send (RFC 6454 § 4); knows no Django."""

import ipaddress
import re
from urllib.parse import urlsplit

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(
    r"(?:[0-9]+|0x[0-9a-f]*)"
)  # as last label it makes an IPv4 address of the whole (WHATWG URL)


def normal_origin(text: str) -> str | None:
    """`scheme://host[:port]`: lower case, A-labels, no default port or final dot; None if it is no origin."""
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
    """Raises ValueError or UnicodeError (idna.IDNAError is one) if it is no host."""
    if is_literal:
        return f"[{ipaddress.IPv6Address(host)}]" if "%" not in host else None
    name = a_labels(host.removesuffix("."))
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(name))
    return name if _NAME.fullmatch(name) else None


def a_labels(name: str) -> str:
    """A domain name in lower-case ASCII (IDNA2008, UTS 46 nontransitional); raises UnicodeError."""
    if name.isascii():
        return name.lower()
    return idna.encode(name, uts46=True, std3_rules=True).decode().removesuffix(".")


def default_origin(host: str, port: int) -> str:
    """Of a service that listens there, on the machine itself."""
    own = host if is_loopback(host) else "localhost"
    return str(normal_origin(f"http://[{own}]:{port}" if ":" in own else f"http://{own}:{port}"))


def host_of(origin: str) -> str:
    """As a Host header has it, without the port; an IPv6 address in brackets."""
    netloc = urlsplit(origin).netloc
    return netloc.partition("]")[0] + "]" if netloc.startswith("[") else netloc.partition(":")[0]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
