"""Rate limits: requests per scope and client network, emails per address, exports per creator.

django-ratelimit counts, with three differences: a client whose address cannot be parsed is limited like
any other; if the counter store fails, requests are refused (LimitsUnavailableError); `Retry-After` points
past the end of the window.
"""

import ipaddress
import logging
from typing import Any
from uuid import UUID

from django.conf import settings
from django_ratelimit.core import get_usage

from accounts.exceptions import LimitsUnavailableError, RateLimitedError
from audit.encryption import keyed_digest
from audit.requests.client_info import ClientInfo, client_info

from .cache import STORE_ERRORS

logger = logging.getLogger(__name__)
IPV6_PREFIX = 64
HOUR = 3600  # seconds
MAILS_FROM_ONE_NETWORK = 5  # an hour, of each kind, to one address
MAILS_TO_ONE_ADDRESS = 20  # an hour, of each kind
EXPORTS_AN_HOUR = 10  # of one creator


def check_rate(request: Any, scope: str) -> None:
    """Count a request in `scope`, whatever its method.

    Raises:
        RateLimitedError: the client's network has used up this window.
        LimitsUnavailableError: the counter store failed.

    """
    _check(scope, network_of(client_info(request)), settings.RATE_LIMITS[scope])


def allows_mail(kind: str, email: str, client: ClientInfo) -> bool:
    """Count an email of this kind to this address; False if it must not be sent.

    Known and unknown addresses count alike. A flood from one network cannot use up the limit of the address.

    Raises:
        LimitsUnavailableError: the counter store failed.

    """
    try:
        _check(f"mail {kind} network", f"{email} {network_of(client)}", f"{MAILS_FROM_ONE_NETWORK}/h")
        _check(f"mail {kind}", email, f"{MAILS_TO_ONE_ADDRESS}/h")
    except RateLimitedError:
        return False
    return True


def check_export(creator_id: UUID) -> None:
    """Count an export of the creator's data.

    Raises:
        RateLimitedError: there were too many within the hour.
        LimitsUnavailableError: the counter store failed.

    """
    _check("export", str(creator_id), f"{EXPORTS_AN_HOUR}/h")


def network_of(client: ClientInfo) -> str:
    """What counts as one client: an IPv4 address or an IPv6 /64."""
    if client.ip_address is None:
        return "unknown"
    address = ipaddress.ip_address(client.ip_address)
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def _check(group: str, value: str, rate: str) -> None:
    # the app role can read the counters, and plain digests of addresses could be guessed
    digest = keyed_digest("accounts.limits", value)
    try:
        usage = get_usage(None, group=group, key=lambda *_: digest, rate=rate, increment=True)
    except STORE_ERRORS as error:
        logger.warning("rate limits unavailable", extra={"error": type(error).__name__})
        raise LimitsUnavailableError from error
    if not usage["should_limit"]:
        return
    if usage["limit"] == 0:  # the store gave no count
        raise LimitsUnavailableError
    raise RateLimitedError(max(1, usage["time_left"] + 1))  # the window includes its last second
