"""The OpenAPI document and its Swagger UI page."""

import threading
from functools import cache
from typing import Any

from csp.decorators import csp_update
from django.utils import translation
from django.utils.decorators import method_decorator
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation

from tenancy.middleware import owns_transactions

# Swagger UI loads its scripts from this service, and adds inline styles
PAGE_POLICY = {"script-src": ["'self'"], "style-src": ["'unsafe-inline'"], "connect-src": ["'self'"]}


@cache
def _document() -> Any:
    """The same for all clients: generated once per process, in English."""
    with translation.override("en"):
        generator = SchemaGenerator()  # type: ignore[no-untyped-call]
        return generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


_lock = threading.Lock()  # drf-spectacular loads its extensions on first use, which is not thread-safe


class CachedGenerator(SchemaGenerator):
    def get_schema(self, request: Any = None, public: bool = False) -> Any:  # noqa: FBT001, FBT002
        with _lock:
            return _document()


class YamlByDefault(DefaultContentNegotiation):
    """YAML if the client accepts neither YAML nor JSON (allowed by RFC 9110 § 12.5.1)."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            return renderers[0], renderers[0].media_type


@owns_transactions
class DocumentView(SpectacularAPIView):
    generator_class = CachedGenerator
    content_negotiation_class = YamlByDefault


@owns_transactions
@method_decorator(csp_update(PAGE_POLICY), name="dispatch")
class PageView(SpectacularSwaggerSplitView):
    """Loads its script from a URL of its own; the policy allows no inline script."""

    http_method_names = ["get", "head"]  # DRF's OPTIONS response has no template here
