"""The door for Prometheus."""

from typing import Any

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.request import Request

from audit.metrics import exposition
from tenancy.middleware import owns_transactions

from .base import OpenDoor
from .introspection import APIKeyAuthentication
from .schema import APIKeyScheme, door

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")


class ScraperAuthentication(APIKeyAuthentication):
    """Asked from the machine itself, unless on behalf of others; these need an API key."""

    def authenticate(self, request: Request) -> tuple[Any, str]:
        is_local = request.META.get("REMOTE_ADDR") in LOOPBACK
        if is_local and not any(name in request.headers for name in FORWARDED):
            return "loopback", "loopback"
        return super().authenticate(request)


@owns_transactions
class MetricsView(OpenDoor):
    """Numbers for Prometheus, added up over all processes.

    Without an API key only from the machine itself, and through no proxy.
    """

    authentication_classes = (ScraperAuthentication,)

    @door(gives={(200, "text/plain"): str}, auth=[{}, {APIKeyScheme.name: []}])
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
