"""The door for Prometheus."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.request import Request

from audit.requests.metrics import exposition
from tenancy.middleware import owns_transactions

from .base import InfrastructureView
from .introspection import APIKeyAuthentication
from .openapi import APIKeyScheme, operation

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
# what Prometheus, curl and browsers send of their own accord; any other may be a proxy's
ORDINARY = {
    "accept", "accept-encoding", "accept-language", "authorization", "cache-control", "connection",
    "content-length", "content-type", "cookie", "dnt", "host", "if-modified-since", "if-none-match",
    "keep-alive", "pragma", "priority", "referer", "te", "upgrade-insecure-requests", "user-agent",
    "x-prometheus-scrape-timeout-seconds",
}  # fmt: skip


def is_from_this_machine(request: Request) -> bool:
    """By itself and through no proxy; one that adds no header can't be seen, so there is a setting."""
    names = {name.lower() for name in request.headers}
    return (
        settings.METRICS_FROM_LOOPBACK
        and request.META.get("REMOTE_ADDR") in LOOPBACK
        and all(name in ORDINARY or name.startswith("sec-") for name in names)
    )


class ScraperAuthentication(APIKeyAuthentication):
    """A request from the machine itself needs no API key, if the setting allows it."""

    def authenticate(self, request: Request) -> tuple[Any, str]:
        if is_from_this_machine(request):
            return "loopback", "loopback"
        return super().authenticate(request)


@owns_transactions
class MetricsView(InfrastructureView):
    """Numbers for Prometheus, added up over all processes.

    Without an API key only from the machine itself, through no proxy, and if METRICS_FROM_LOOPBACK allows it.
    """

    authentication_classes = (ScraperAuthentication,)

    @operation(responses={(200, "text/plain"): str}, auth=[{}, {APIKeyScheme.name: []}])
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
