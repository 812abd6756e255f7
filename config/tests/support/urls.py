"""The URL patterns."""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


def endpoints() -> Iterator[str]:
    """`METHOD route` of all that is served, but for the admin, which has its own sign-in."""

    def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                yield route, pattern.callback

    for route, view in walk(get_resolver().url_patterns):
        if route.startswith("admin/"):
            continue
        handlers = getattr(view, "view_class", getattr(view, "cls", None))
        names = ("get", "post", "put", "patch", "delete")
        methods = [name.upper() for name in names if hasattr(handlers, name)] if handlers else ["GET"]
        yield from (f"{method} {route}" for method in methods)
