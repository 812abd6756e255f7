"""The metrics endpoint for Prometheus."""

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
# headers that Prometheus, curl and browsers send; any other may be a proxy's
CLIENT_HEADERS = {
    "accept", "accept-encoding", "accept-language", "authorization", "cache-control", "connection",
    "content-length", "content-type", "cookie", "dnt", "host", "if-modified-since", "if-none-match",
    "keep-alive", "pragma", "priority", "referer", "te", "upgrade-insecure-requests", "user-agent",
    "x-prometheus-scrape-timeout-seconds",
}  # fmt: skip


def is_from_this_machine(request: Request) -> bool:
    """Whether the request comes from loopback and not through a proxy.

    A proxy that adds no header cannot be detected; for that case there is the setting.
    """
    names = {name.lower() for name in request.headers}
    return (
        settings.METRICS_FROM_LOOPBACK
        and request.META.get("REMOTE_ADDR") in LOOPBACK
        and all(name in CLIENT_HEADERS or name.startswith("sec-") for name in names)
    )


class ScraperAuthentication(APIKeyAuthentication):
    """A request from this machine needs no API key, unless METRICS_FROM_LOOPBACK is off."""

    def authenticate(self, request: Request) -> tuple[Any, str]:
        if is_from_this_machine(request):
            return "loopback", "loopback"
        return super().authenticate(request)


@owns_transactions
class MetricsView(InfrastructureView):
    """Metrics for Prometheus, summed over all processes.

    Needs an API key, except from this machine without a proxy, if METRICS_FROM_LOOPBACK is on.
    """

    authentication_classes = (ScraperAuthentication,)

    @operation(responses={(200, "text/plain"): str}, auth=[{}, {APIKeyScheme.name: []}])
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
