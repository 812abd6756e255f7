import time
from collections.abc import Callable

from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django_otp import DEVICE_ID_SESSION_KEY

from accounts.api.problems import LengthRequiredError, refusal
from tenancy.context import OPERATOR, current_alias, using_alias

Handler = Callable[[HttpRequest], HttpResponseBase]
SIGNED_IN_AT = "signed_in_at"  # in the session: when the password was given

LONGEST_LENGTH = 19  # digits


class BodyLimitMiddleware:
    """Refuses bodies that are too long (413), or that don't say how long they are (411)."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "Transfer-Encoding" in request.headers:
            return refusal(request, LengthRequiredError())
        length = request.headers.get("Content-Length") or "0"
        if not (length.isascii() and length.isdigit()):
            return refusal(request, BadRequest())
        # int() raises for more than 4300 digits
        if len(length) > LONGEST_LENGTH or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return refusal(request, RequestDataTooBig())
        return self.get_response(request)


class OperatorAliasMiddleware:
    """The admin, and nothing else, speaks through the operator role, and has scripts of its own."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.get_admin_response = csp_update({"script-src": ["'self'"]})(get_response)
        self.prefix = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(self.prefix):
            return self.get_response(request)
        with using_alias(OPERATOR):
            return self.get_admin_response(request)


class OperatorSessionMiddleware:
    """An operator's session ends unused, hours after the sign-in, or with the app that vouched for it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if current_alias() == OPERATOR:
            if _is_over(request):
                logout(request)
            elif request.user.is_authenticated:
                request.session.modified = True  # its time begins anew
        return self.get_response(request)


def _is_over(request: HttpRequest) -> bool:
    vouched_for = DEVICE_ID_SESSION_KEY in request.session  # taken out as soon as the user is asked for
    if not request.user.is_authenticated:
        return False
    age = time.time() - request.session.get(SIGNED_IN_AT, 0)
    app_is_gone = vouched_for and DEVICE_ID_SESSION_KEY not in request.session
    return app_is_gone or age > settings.OPERATOR_SESSION_LIFETIME.total_seconds()
