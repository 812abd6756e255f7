"""Liveness and readiness."""

import functools

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.base import InfrastructureView
from accounts.api.openapi import operation
from accounts.api.problems import problem
from accounts.api.serializers import HealthResponse
from accounts.exceptions import NoSigningKeyError
from accounts.ratelimits.cache import STORE_ERRORS
from accounts.tokens.key_cache import key_ring
from tenancy.middleware import owns_transactions


@owns_transactions
class AliveView(InfrastructureView):
    """Is the process alive?"""

    @operation(responses={200: HealthResponse})
    def get(self, request: Request) -> Response:
        return Response({"status": "alive"})


@owns_transactions
class ReadyView(InfrastructureView):
    """Is the service ready? If not, which part is not."""

    @operation(responses={200: HealthResponse})
    def get(self, request: Request) -> HttpResponseBase:
        if part := _unready_part():
            return problem(request, 503, "unavailable", f"The {part} not ready.")
        return Response({"status": "ready"})


def _unready_part() -> str | None:
    try:
        if not _expected_migrations() <= _applied_migrations():
            return "migrations are"
        key_ring().signing_key()
    except NoSigningKeyError:
        return "signing keys are"
    except DatabaseError:
        return "database is"
    try:
        cache.get("readyz")
    except STORE_ERRORS:
        return "cache is"
    return None


def _applied_migrations() -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        return set(cursor.fetchall())


@functools.cache
def _expected_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None).disk_migrations)
