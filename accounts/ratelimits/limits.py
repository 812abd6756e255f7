"""How often, and how many at once: requests at a scope per client network, mails to an address.

django-ratelimit counts; here are its quirks' opposites: an unreadable address is a client like any
other, a counter store that is gone refuses (LimitsUnavailableError), and whoever waits for as long as
Retry-After says is in the next window.
"""

import ipaddress
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django_ratelimit.core import get_usage

from accounts.exceptions import BusyError, LimitsUnavailableError, RateLimitedError
from audit.encryption import keyed_digest
from audit.requests.client_info import ClientInfo, client_info

from .cache import STORE_ERRORS

logger = logging.getLogger(__name__)
IPV6_PREFIX = 64
HOUR = 3600
MAILS_FROM_ONE_NETWORK = 5  # an hour, of each kind, to one address
MAILS_TO_ONE_ADDRESS = 20  # an hour, of each kind
EXPORTS_AN_HOUR = 10  # of one creator
SLOW_DOORS = {
    "login", "register", "email_verify", "password_change", "password_reset_confirm", "password_validate"
}  # fmt: skip
RESERVED_THREADS = 2  # threads of a worker
_slots = threading.BoundedSemaphore(max(1, settings.WORKER_THREADS - RESERVED_THREADS))


@contextmanager
def _counting() -> Iterator[None]:
    """Whatever the counter store fails with: a scope that can't count stays shut."""
    try:
        yield
    except STORE_ERRORS as error:
        logger.warning("rate limits unavailable", extra={"error": type(error).__name__})
        raise LimitsUnavailableError from error


@_counting()
def check_rate(request: Any, scope: str) -> None:
    """Count a request at `scope`, whatever its method.

    Raises:
        RateLimitedError: the client's network has had its share of this window.
        LimitsUnavailableError: nobody can tell.

    """
    usage = get_usage(
        request, group=scope, key=_network_key, rate=settings.RATE_LIMITS[scope], increment=True
    )
    if usage is None or not usage["should_limit"]:
        return
    if usage["limit"] == 0:
        raise LimitsUnavailableError
    raise RateLimitedError(max(1, usage["time_left"] + 1))  # the window's last second belongs to it


@contextmanager
def hashing_slot(needed: bool) -> Iterator[None]:  # noqa: FBT001
    """A slot for a request that hashes, calls HaveIBeenPwned or waits on the lockout.

    Such requests hold a thread of the server for up to seconds; some threads are always left to the others.

    Raises:
        BusyError: no slot is free.

    """
    if not needed:
        yield
        return
    if not _slots.acquire(blocking=False):
        raise BusyError
    try:
        yield
    finally:
        _slots.release()


def network_of(client: ClientInfo) -> str:
    """What counts as one client: an IPv4 address or an IPv6 /64."""
    if client.ip_address is None:
        return "unknown"
    address = ipaddress.ip_address(client.ip_address)
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def _network_key(group: str, request: Any) -> str:
    return _unnamed(network_of(client_info(request)))


def _unnamed(text: str) -> str:
    """What the counters know of an address: the app's role can read them, and plain digests be guessed."""
    return keyed_digest("accounts.limits", text)


@_counting()
def allows_mail(kind: str, email: str, client: ClientInfo) -> bool:
    """Count a mail of this kind to this address; False once it has had enough this hour.

    Known and unknown addresses count alike. Whoever floods from one network can't use up the
    address's share for its owner. Raises LimitsUnavailableError where nobody can tell.
    """
    if _count("mail", kind, email, network_of(client)) > MAILS_FROM_ONE_NETWORK:
        return False
    return _count("mail", kind, email) <= MAILS_TO_ONE_ADDRESS


@_counting()
def check_export(creator_id: UUID) -> None:
    """Count an export of all that is held about the creator.

    Raises:
        RateLimitedError: there were EXPORTS_AN_HOUR.
        LimitsUnavailableError: nobody can tell.

    """
    if _count("export", str(creator_id)) > EXPORTS_AN_HOUR:
        raise RateLimitedError(HOUR)


def _count(kind: str, *what: str) -> int:
    """How often within the hour that the first began, this time included."""
    key = f"{kind}:{_unnamed(' '.join(what))}"
    if cache.add(key, 1, HOUR):
        return 1
    try:
        return cache.incr(key)
    except ValueError:  # its hour has just ended
        return 1
