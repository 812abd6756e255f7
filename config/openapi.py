"""The OpenAPI document and its page."""

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

# scripts from here, and the styles that Swagger UI writes into its page
PAGE_POLICY = {"script-src": ["'self'"], "style-src": ["'unsafe-inline'"], "connect-src": ["'self'"]}


@cache
def _document() -> Any:
    """The same for everybody: made once a process, in English."""
    with translation.override("en"):
        generator = SchemaGenerator()  # type: ignore[no-untyped-call]
        return generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


_making = threading.Lock()  # drf-spectacular loads its extensions once, and not for two threads at a time


class OneDocument(SchemaGenerator):
    def get_schema(self, request: Any = None, public: bool = False) -> Any:  # noqa: FBT001, FBT002
        with _making:
            return _document()


class YamlOrJson(DefaultContentNegotiation):
    """YAML if the client accepts neither (RFC 9110 § 12.5.1 leaves it to us)."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable:
            return renderers[0], renderers[0].media_type


@owns_transactions
class DocumentView(SpectacularAPIView):
    generator_class = OneDocument
    content_negotiation_class = YamlOrJson


@owns_transactions
@method_decorator(csp_update(PAGE_POLICY), name="dispatch")
class PageView(SpectacularSwaggerSplitView):
    """Its script comes by a request of its own: no inline one is allowed."""

    http_method_names = ["get", "head"]  # the page has no template for what DRF says of OPTIONS
