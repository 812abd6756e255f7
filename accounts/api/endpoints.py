"""The endpoints of the service, read from the URL patterns and their views."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from .base import LimitedView
from .openapi import Operation

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Endpoint:
    method: str
    route: str  # Django's, without the first slash
    view: Any  # the class, or the function

    @property
    def path(self) -> str:
        return f"/{self.route}"

    @property
    def limit(self) -> str | None:
        """The scope of its rate limit; None if it has none."""
        if not _is_limited(self.view) or self.method in self.view.unlimited_methods:
            return None
        return str(self.view.limit)

    @property
    def hashes_passwords(self) -> bool:
        return _is_limited(self.view) and self.view.hashes_passwords

    @property
    def operation(self) -> Operation | None:
        handler = getattr(self.view, self.method.lower(), None)
        return getattr(handler, "operation", None)


def _is_limited(view: Any) -> bool:
    return isinstance(view, type) and issubclass(view, LimitedView)


def endpoints() -> Iterator[Endpoint]:
    """All endpoints and pages except those of the admin. A function view has GET only."""
    for route, callback in _patterns(get_resolver().url_patterns):
        if route.startswith("admin/"):
            continue
        view = getattr(callback, "view_class", getattr(callback, "cls", None))
        methods = [name.upper() for name in METHODS if hasattr(view, name)] if view else ["GET"]
        yield from (Endpoint(method, route, view or callback) for method in methods)


def _patterns(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback
