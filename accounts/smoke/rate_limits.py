"""Sends empty bodies to every limited endpoint until it responds 429."""

from django.conf import settings

from accounts.api.endpoints import Endpoint, endpoints

from .client import CheckFailed, Client, code_of, require

MAX_REQUESTS = 500  # a higher limit counts as none


def check_rate_limits(client: Client) -> None:
    for scope, rate in settings.RATE_LIMITS.items():
        require(_limit_of(scope) <= MAX_REQUESTS, f"the rate limit of {scope} is {rate}, which is too high")
    for endpoint in endpoints():
        if endpoint.limit and endpoint.method == "POST":
            _check_limit(client, endpoint, endpoint.limit)


def _limit_of(scope: str) -> int:
    return int(settings.RATE_LIMITS[scope].partition("/")[0])


def _check_limit(client: Client, endpoint: Endpoint, scope: str) -> None:
    """Send up to twice the limit, because a new window may start in between."""
    requests = 2 * _limit_of(scope) + 1
    for _ in range(requests):
        response = client.send(endpoint.method, endpoint.path, {})
        if code_of(response) == "rate_limited":
            require(int(response.headers["Retry-After"]) >= 1, f"{endpoint.path}: Retry-After is below 1")
            return
    raise CheckFailed(
        f"the rate limit of {scope} is off: {requests} requests to {endpoint.path} without a 429"
    )
