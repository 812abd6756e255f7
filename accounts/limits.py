"""How often: requests at a door per client network, and mails to an address.

django-ratelimit counts; here are its quirks' opposites: an unreadable address is a client like any
other, a counter store that is gone refuses (RateLimitsUnavailableError), Retry-After is never 0.
"""

import hashlib
import ipaddress
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django_ratelimit.core import get_usage

from accounts.exceptions import LimitsUnavailableError, RateLimitedError
from audit.clients import Client, client_of

IPV6_PREFIX = 64
HOUR = 3600
MAILS_FROM_ONE_NETWORK = 5  # an hour, of each kind, to one address
MAILS_TO_ONE_ADDRESS = 20  # an hour, of each kind


def check(request: Any, door: str) -> None:
    """Count a request at `door`, whatever its method.

    Raises:
        RateLimitedError: the client's network has had its share of this window.
        LimitsUnavailableError: nobody can tell.

    """
    usage = get_usage(request, group=door, key=_network_key, rate=settings.RATE_LIMITS[door], increment=True)
    if usage is None or not usage["should_limit"]:
        return
    if usage["limit"] == 0:
        raise LimitsUnavailableError
    raise RateLimitedError(max(1, usage["time_left"]))


def network_of(client: Client) -> str:
    """What counts as one client: an IPv4 address or an IPv6 /64."""
    if client.ip_address is None:
        return "unknown"
    address = ipaddress.ip_address(client.ip_address)
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def _network_key(group: str, request: Any) -> str:
    return network_of(client_of(request))


def allows_mail(kind: str, email: str, client: Client) -> bool:
    """Count a mail of this kind to this address; False once it has had enough this hour.

    Known and unknown addresses count alike. Whoever floods from one network can't use up the
    address's share for its owner.
    """
    address = hashlib.sha256(email.encode()).hexdigest()
    if _count(f"mail:{kind}:{address}:{network_of(client)}") > MAILS_FROM_ONE_NETWORK:
        return False
    return _count(f"mail:{kind}:{address}") <= MAILS_TO_ONE_ADDRESS


def _count(key: str) -> int:
    return 1 if cache.add(key, 1, HOUR) else cache.incr(key)
