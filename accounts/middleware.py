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

MAX_LENGTH_DIGITS = 19  # of Content-Length
MAX_DRAINED_BYTES = 2**20  # the proxy lets no more through
CHUNK_BYTES = 2**16


class BodyLimitMiddleware:
    """Refuses bodies that are too long (413) or have no Content-Length (411).

    A body that the view did not read is drained. Otherwise the server would reset the connection, and a
    client that is still sending would never see the response. Draining holds a thread, so only a few
    requests do it at a time. It costs no measurable time if the body was read.
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
        size = int(length) if len(length) <= MAX_LENGTH_DIGITS else sys.maxsize
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
        while request.read(CHUNK_BYTES):
            pass


class MalformedRequestMiddleware:
    """Refuses requests that `config.handler` could not parse. They count in the rate limit as others do."""

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
    """Runs `settings.HTML_MIDDLEWARE` for pages only, which makes `GET me` 50 % faster than one flat list.

    API responses get the headers below, and the language of `Accept-Language`. Of the middleware hooks, only
    `process_view` is supported.
    """

    api_headers = (
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
        request.get_host()  # raises DisallowedHost, as CommonMiddleware does for pages
        response: HttpResponse
        if "HTTP_ACCEPT_LANGUAGE" in request.META:
            response = self.get_translated_response(request)
        else:
            translation.activate(settings.LANGUAGE_CODE)  # the thread may have another from its last request
            response = cast("HttpResponse", self.get_response(request))
        for name, value in self.api_headers:
            response.headers[name] = value
        if not response.streaming and response.content:  # without it the server sends chunks
            response.headers["Content-Length"] = str(len(response.content))
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponseBase | None:
        if _is_api_request(request):
            return None
        responses = (hook(request, *view) for hook in self.view_hooks)
        return next(filter(None, responses), None)


def _is_api_request(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/v1/")


class OperatorAliasMiddleware:
    """Uses the operator role of the database for the admin, and allows scripts there."""

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
            _reveal_hidden_characters(response)
        return response


def _reveal_hidden_characters(page: HttpResponse) -> None:
    """Pages show text by others (names, addresses, reasons). Done here, for all templates."""
    text = page.content.decode()
    visible_text = visible(text, keep=WHITESPACE)
    if visible_text != text:
        page.content = visible_text.encode()


class OperatorSessionMiddleware:
    """Ends an operator's session when it is idle, hours after sign-in, or if its TOTP device is deleted."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if current_alias() == OPERATOR:
            if _is_expired(request):
                logout(request)
            elif request.user.is_authenticated:
                request.session.modified = True  # restarts the idle timeout
        return self.get_response(request)


def _is_expired(request: HttpRequest) -> bool:
    was_verified = DEVICE_ID_SESSION_KEY in request.session
    if not request.user.is_authenticated:  # loads the user; django-otp then drops the key of a deleted device
        return False
    age = time.time() - request.session.get(SIGNED_IN_AT, 0)
    device_is_deleted = was_verified and DEVICE_ID_SESSION_KEY not in request.session
    return device_is_deleted or age > settings.OPERATOR_SESSION_LIFETIME.total_seconds()
