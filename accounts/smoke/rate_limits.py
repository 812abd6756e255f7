"""Do the doors count? Each is knocked at, with nothing in hand, until it refuses."""

from django.conf import settings
from django_ratelimit.core import _split_rate

from .client import Service, code_of, require

MAX_REQUESTS = 500  # a limit beyond that, in one window, is none
DOORS = {
    "login": "auth/login",
    "register": "auth/register",
    "email_verify": "auth/email/verify",
    "email_verify_resend": "auth/email/verify/resend",
    "password_reset": "auth/password/reset",
    "password_reset_confirm": "auth/password/reset/confirm",
    "password_change": "auth/password/change",
    "password_validate": "auth/password/validate",
    "refresh": "auth/refresh",
    "end_user_session": "end-users/sessions",
    "default": "auth/logout",
}


def rate_limits_enforced(service: Service) -> None:
    for door, rate in settings.RATE_LIMITS.items():
        limit, _seconds = _split_rate(rate)
        require(limit <= MAX_REQUESTS, f"the rate limit of {door} is {rate}: as good as off")
        _require_refusal(service, door, DOORS[door], limit)


def _require_refusal(service: Service, door: str, path: str, limit: int) -> None:
    """Within twice the limit: the window's edge may come in between."""
    for _ in range(2 * limit + 1):
        answer = service.send("POST", path, {})
        if code_of(answer) == "rate_limited":
            require(int(answer.headers["Retry-After"]) >= 1, f"{door}: Retry-After is below 1")
            return
    require(False, f"the rate limit of {door} is off: {2 * limit + 1} requests at once and no 429")  # noqa: FBT003
