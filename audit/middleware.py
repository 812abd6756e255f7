import logging
import re
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from uuid_utils.compat import uuid7

from . import metrics
from .logs import request_id

logger = logging.getLogger("audit.requests")
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestMiddleware:
    """Gives each request its id and its client, and writes one log line for it.

    The line names the route, never the path: the paths of reset pages hold tokens.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request.request_id = given if ACCEPTABLE_ID.fullmatch(given) else uuid7().hex  # type: ignore[attr-defined]
        token = request_id.set(request.request_id)  # type: ignore[attr-defined]
        try:
            response = self.get_response(request)
            self._finish(request, response, started)
        finally:
            request_id.reset(token)
        return response

    def _finish(self, request: HttpRequest, response: HttpResponseBase, started: float) -> None:
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        if request.path.startswith(("/api/", "/account/")):  # tokens in answers, tokens in paths
            response["Cache-Control"] = "no-store"
        seconds = time.perf_counter() - started
        route = getattr(request.resolver_match, "route", None)
        metrics.count_request(str(request.method), route, response.status_code, seconds)
        facts = {
            "method": request.method,
            "route": route,
            "status": response.status_code,
            "milliseconds": round(seconds * 1000, 1),
        }
        logger.info("request", extra=facts)
