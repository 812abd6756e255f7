import logging
import re
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from uuid_utils.compat import uuid7

from . import metrics
from .logs import request_id

logger = logging.getLogger("audit.requests")
CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestMiddleware:
    """Gives each request an id, counts it, and logs one line.

    The line has the route and not the path: the paths of reset pages contain tokens. An incoming
    `X-Request-ID` is logged as `client_request_id` and used nowhere else.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        request.request_id = uuid7().hex  # type: ignore[attr-defined]
        token = request_id.set(request.request_id)  # type: ignore[attr-defined]
        try:
            response = self.get_response(request)
            self._finish(request, response, started)
        finally:
            request_id.reset(token)
        return response

    def _finish(self, request: HttpRequest, response: HttpResponseBase, started: float) -> None:
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        if request.path.startswith(("/api/", "/account/")):  # tokens in responses and in paths
            response["Cache-Control"] = "no-store"
        seconds = time.perf_counter() - started
        route = getattr(request.resolver_match, "route", None)
        method = metrics.known_method(str(request.method))
        metrics.count_request(method, route, response.status_code, seconds)
        fields = {
            "method": method,
            "route": route,
            "status": response.status_code,
            "milliseconds": round(seconds * 1000, 1),
        }
        client_id = request.META.get("HTTP_X_REQUEST_ID", "")
        if CLIENT_ID.fullmatch(client_id):
            fields["client_request_id"] = client_id
        logger.info("request", extra=fields)
