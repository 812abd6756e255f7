"""Rate limits: requests per endpoint and client network, emails per address, exports per creator.

django-ratelimit counts. Three of its defaults are reversed here: an unreadable client address is counted
like any other, a counter store that fails refuses the request (LimitsUnavailableError), and Retry-After
points past the end of the window.
"""

import ipaddress
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django_ratelimit.core import get_usage

from accounts.exceptions import LimitsUnavailableError, RateLimitedError
from audit.encryption import keyed_digest
from audit.requests.client_info import ClientInfo, client_info

from .cache import STORE_ERRORS

logger = logging.getLogger(__name__)
IPV6_PREFIX = 64
HOUR = 3600
MAILS_FROM_ONE_NETWORK = 5  # an hour, of each kind, to one address
MAILS_TO_ONE_ADDRESS = 20  # an hour, of each kind
EXPORTS_AN_HOUR = 10  # of one creator


@contextmanager
def _counting() -> Iterator[None]:
    """Rate limits fail closed: an error of the counter store refuses the request."""
    try:
        yield
    except STORE_ERRORS as error:
        logger.warning("rate limits unavailable", extra={"error": type(error).__name__})
        raise LimitsUnavailableError from error


@_counting()
def check_rate(request: Any, scope: str) -> None:
    """Count a request in `scope`, whatever its method.

    Raises:
        RateLimitedError: the client's network has reached the limit of this window.
        LimitsUnavailableError: the counter store failed.

    """
    usage = get_usage(
        request, group=scope, key=_network_key, rate=settings.RATE_LIMITS[scope], increment=True
    )
    if usage is None or not usage["should_limit"]:
        return
    if usage["limit"] == 0:
        raise LimitsUnavailableError
    raise RateLimitedError(max(1, usage["time_left"] + 1))  # the last second belongs to the window


def network_of(client: ClientInfo) -> str:
    """The network that counts as one client: an IPv4 address or an IPv6 /64."""
    if client.ip_address is None:
        return "unknown"
    address = ipaddress.ip_address(client.ip_address)
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def _network_key(group: str, request: Any) -> str:
    return _keyed(network_of(client_info(request)))


def _keyed(text: str) -> str:
    """A keyed digest: the app role can read all counters, and a plain digest of an address can be guessed."""
    return keyed_digest("accounts.limits", text)


@_counting()
def allows_mail(kind: str, email: str, client: ClientInfo) -> bool:
    """Count an email of this kind to this address; False if it has reached the limit of the hour.

    Known and unknown addresses count alike. One network can't use up the limit of an address.

    Raises:
        LimitsUnavailableError: the counter store failed.

    """
    if _count("mail", kind, email, network_of(client)) > MAILS_FROM_ONE_NETWORK:
        return False
    return _count("mail", kind, email) <= MAILS_TO_ONE_ADDRESS


@_counting()
def check_export(creator_id: UUID) -> None:
    """Count an export of a creator's data.

    Raises:
        RateLimitedError: there were EXPORTS_AN_HOUR.
        LimitsUnavailableError: the counter store failed.

    """
    if _count("export", str(creator_id)) > EXPORTS_AN_HOUR:
        raise RateLimitedError(HOUR)


def _count(kind: str, *what: str) -> int:
    """The count within an hour of the first one, this one included."""
    key = f"{kind}:{_keyed(' '.join(what))}"
    if cache.add(key, 1, HOUR):
        return 1
    try:
        return cache.incr(key)
    except ValueError:  # it expired since `add`
        return 1
