"""The client of a request. Only this module determines its address."""

import ipaddress
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

USER_AGENT_LENGTH = 512


@dataclass(frozen=True)
class ClientInfo:
    """`ip_address` is None outside of requests (commands, jobs)."""

    ip_address: str | None = None
    user_agent: str = ""
    request_id: str = ""


def client_info(request: Any) -> ClientInfo:
    """The client of a Django or DRF request."""
    agent = request.META.get("HTTP_USER_AGENT", "")
    printable = "".join(char for char in agent[:USER_AGENT_LENGTH] if char.isprintable())
    return ClientInfo(_address(request), printable, getattr(request, "request_id", ""))


def _address(request: HttpRequest) -> str | None:
    """The peer, or the peer of the outermost of TRUSTED_PROXY_COUNT proxies."""
    peer = _normalize(request.META.get("REMOTE_ADDR", ""))
    if not settings.TRUSTED_PROXY_COUNT:
        return peer
    hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    if len(hops) < settings.TRUSTED_PROXY_COUNT:
        return peer
    return _normalize(hops[-settings.TRUSTED_PROXY_COUNT]) or peer


def _normalize(text: str) -> str | None:
    """Normalize an address: no zone, IPv4-mapped as IPv4. None if it is not an address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return str(address)
