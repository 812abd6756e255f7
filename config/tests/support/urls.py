"""The endpoints and pages as `METHOD route`, and well-formed bodies for the endpoints."""

import inspect
from collections import defaultdict
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.api.endpoints import Endpoint, endpoints
from accounts.api.openapi_examples import BY_NAME


def endpoint_names() -> list[str]:
    return [f"{endpoint.method} {endpoint.route}" for endpoint in endpoints()]


def _is_api_view(endpoint: Endpoint) -> bool:
    return inspect.isclass(endpoint.view) and issubclass(endpoint.view, APIView)


def is_documented(endpoint: Endpoint) -> bool:
    """Whether it is in the OpenAPI document (pages and the document itself are not)."""
    return _is_api_view(endpoint) and endpoint.view.__module__ != "config.openapi"


def is_public(endpoint: Endpoint) -> bool:
    """Whether it reads no bearer token. Pages never do."""
    if not _is_api_view(endpoint):
        return True
    view = endpoint.view()
    view.request = SimpleNamespace(method=endpoint.method)
    return not view.get_authenticators()


def example_body(endpoint: Endpoint) -> dict[str, Any] | None:
    """A well-formed JSON body; None if the endpoint takes none, or a form."""
    request = endpoint.operation and endpoint.operation.request
    if not (inspect.isclass(request) and issubclass(request, Serializer)):
        return None
    return {str(name): BY_NAME[str(name)] for name in request().fields}


# path → body
POST_BODIES: dict[str, dict[str, Any]] = {
    endpoint.path: body
    for endpoint in endpoints()
    if endpoint.method == "POST" and (body := example_body(endpoint))
}


def allowed_methods() -> dict[str, set[str]]:
    """Path → methods of each JSON endpoint."""
    allowed: dict[str, set[str]] = defaultdict(lambda: {"OPTIONS"})
    for endpoint in endpoints():
        if is_documented(endpoint):
            path = endpoint.path.replace("<uuid:session_id>", str(uuid4()))
            allowed[path] |= {"GET", "HEAD"} if endpoint.method == "GET" else {endpoint.method}
    return dict(allowed)


def limited_paths() -> dict[str, str]:
    """Path of each limited POST → scope."""
    return {
        endpoint.path: endpoint.limit
        for endpoint in endpoints()
        if endpoint.method == "POST" and endpoint.limit
    }


def hashing_bodies() -> dict[str, dict[str, Any]]:
    """Bodies of the endpoints that need a hashing slot, by path."""
    return {
        endpoint.path: POST_BODIES[endpoint.path] for endpoint in endpoints() if endpoint.hashes_passwords
    }
