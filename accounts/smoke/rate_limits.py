"""Sends empty bodies to an endpoint of every rate limit until it responds 429."""

from django.conf import settings

from accounts.api.urls import limited_paths

from .client import Service, code_of, require

MAX_REQUESTS = 500  # in one window; a higher limit counts as none


def rate_limits_enforced(service: Service) -> None:
    for scope, path in limited_paths().items():
        rate = settings.RATE_LIMITS[scope]
        limit = int(rate.partition("/")[0])
        require(limit <= MAX_REQUESTS, f"the rate limit of {scope} is {rate}: as good as off")
        _require_refusal(service, scope, path, limit)


def _require_refusal(service: Service, scope: str, path: str, limit: int) -> None:
    """Within twice the limit, since a window may end in between."""
    for _ in range(2 * limit + 1):
        response = service.send("POST", path, {})
        if code_of(response) == "rate_limited":
            require(int(response.headers["Retry-After"]) >= 1, f"{scope}: Retry-After is below 1")
            return
    require(False, f"the rate limit of {scope} is off: {2 * limit + 1} requests at once and no 429")  # noqa: FBT003
