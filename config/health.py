"""Is the process alive, and is it ready to serve?"""

import functools

from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

from accounts.api.problems import problem, read_only
from tenancy.middleware import owns_transactions


@owns_transactions
@read_only
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "alive"})


@owns_transactions
@read_only
def readyz(request: HttpRequest) -> HttpResponse:
    """200, or 503 that names the part that is not ready."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = set(cursor.fetchall())
    except DatabaseError:
        return problem(request, 503, "unavailable", "The database is not ready.")
    if not _expected_migrations() <= applied:
        return problem(request, 503, "unavailable", "The migrations are not ready.")
    try:
        cache.get("readyz")
    except (DatabaseError, ConnectionInterrupted, RedisError):
        return problem(request, 503, "unavailable", "The cache is not ready.")
    return JsonResponse({"status": "ready"})


@functools.cache
def _expected_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None).disk_migrations)
