import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import BoundedSemaphore
from typing import Any, cast

from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth import logout
from django.core.exceptions import BadRequest, RequestDataTooBig
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.middleware.locale import LocaleMiddleware
from django.urls import reverse
from django.utils import translation
from django.utils.module_loading import import_string
from django_otp import DEVICE_ID_SESSION_KEY

from accounts.api.problems import problem_response
from audit.text import WHITESPACE, visible
from tenancy.context import OPERATOR, current_alias, using_alias

from .exceptions import LengthRequiredError, LimitsUnavailableError, RateLimitedError
from .ratelimits import limits

Handler = Callable[[HttpRequest], HttpResponseBase]
SIGNED_IN_AT = "signed_in_at"  # in the session: when the password was given

LONGEST_LENGTH = 19  # digits
MAX_DRAINED_BYTES = 2**20  # bytes of a body that nobody wants; the proxy lets no more through
CHUNK = 2**16


class BodyLimitMiddleware:
    """Refuses bodies that are too long (413), or that don't say how long they are (411).

    Whoever is answered before the body is read still gets to send it: the server closes a connection
    with something unread in it, and the client, still writing, would see that instead of the answer.
    That is kindness, and holds a thread: to few at once.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self._drain_slots = BoundedSemaphore(max(1, settings.WORKER_THREADS // 4))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_TRANSFER_ENCODING" in request.META:
            return problem_response(request, LengthRequiredError())
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return problem_response(request, BadRequest())
        # int() raises for more than 4300 digits
        size = int(length) if len(length) <= LONGEST_LENGTH else sys.maxsize
        too_long = size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        response = problem_response(request, RequestDataTooBig()) if too_long else self.get_response(request)
        if 0 < size <= MAX_DRAINED_BYTES and self._drain_slots.acquire(blocking=False):
            try:
                _drain(request)
            finally:
                self._drain_slots.release()
        return response


def _drain(request: HttpRequest) -> None:
    with suppress(UnreadablePostError):
        while request.read(CHUNK):
            pass


class MalformedRequestMiddleware:
    """Refuses requests that `config.handler` could not read; they count for the rate limit as others do."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponseBase | None:
        if not hasattr(request, "malformed"):
            return None
        if limit := getattr(getattr(view, "cls", None), "limit", None):
            try:
                limits.check_rate(request, limit)
            except (RateLimitedError, LimitsUnavailableError) as error:
                return problem_response(request, error)
        raise BadRequest


class HTMLMiddlewareStack:
    """`settings.HTML_MIDDLEWARE` around pages; the JSON doors are spared what only browsers need.

    They get what browsers want of an answer that is no page, and the language that the client asks for.
    """

    json_headers = (
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("X-Frame-Options", "DENY"),
    )

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.get_translated_response: Any = convert_exception_to_response(LocaleMiddleware(get_response))
        self.get_page: Any = get_response
        self.view_hooks: list[Callable[..., Any]] = []
        for path in reversed(settings.HTML_MIDDLEWARE):
            middleware = import_string(path)(self.get_page)
            self.get_page = convert_exception_to_response(middleware)
            if hasattr(middleware, "process_view"):
                self.view_hooks.insert(0, middleware.process_view)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not _is_api_request(request):
            page: HttpResponseBase = self.get_page(request)
            return page
        request.get_host()  # raises DisallowedHost; pages have CommonMiddleware for it
        response: HttpResponse
        if "HTTP_ACCEPT_LANGUAGE" in request.META:
            response = self.get_translated_response(request)
        else:
            translation.activate(settings.LANGUAGE_CODE)  # the thread may remember another
            response = cast("HttpResponse", self.get_response(request))
        for name, value in self.json_headers:
            response.headers[name] = value
        if not response.streaming and response.content:  # else it would go out in chunks
            response.headers["Content-Length"] = str(len(response.content))
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponseBase | None:
        if _is_api_request(request):
            return None
        return next((found for hook in self.view_hooks if (found := hook(request, *view))), None)


def _is_api_request(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/v1/")


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
            response = self.get_admin_response(request)
        if isinstance(response, HttpResponse) and response.get("Content-Type", "").startswith("text/html"):
            _show_what_is_hidden(response)
        return response


def _show_what_is_hidden(page: HttpResponse) -> None:
    """Names, addresses and reasons in it are others' words; in one place, so that no template forgets it."""
    text = page.content.decode()
    shown = visible(text, keep=WHITESPACE)
    if shown != text:
        page.content = shown.encode()


class OperatorSessionMiddleware:
    """An operator's session ends unused, hours after the sign-in, or with the app that vouched for it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if current_alias() == OPERATOR:
            if _is_expired(request):
                logout(request)
            elif request.user.is_authenticated:
                request.session.modified = True  # its time begins anew
        return self.get_response(request)


def _is_expired(request: HttpRequest) -> bool:
    vouched_for = DEVICE_ID_SESSION_KEY in request.session  # taken out as soon as the user is asked for
    if not request.user.is_authenticated:
        return False
    age = time.time() - request.session.get(SIGNED_IN_AT, 0)
    app_is_gone = vouched_for and DEVICE_ID_SESSION_KEY not in request.session
    return app_is_gone or age > settings.OPERATOR_SESSION_LIFETIME.total_seconds()
