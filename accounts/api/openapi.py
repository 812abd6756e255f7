"""The OpenAPI description of an endpoint, derived from its view.

A handler declares its request, its responses and its own errors with `@operation`. Its rate limit,
authenticators, parsers and path imply the other errors. Their status, code and detail come from
`problems.TABLE`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http import Http404
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import exceptions as drf
from rest_framework import serializers

from accounts import exceptions as accounts

from . import openapi_examples
from .base import LimitedView
from .problems import problem_facts
from .serializers import Problem

Handler = TypeVar("Handler", bound=Callable[..., Any])
Security = list[dict[str, list[str]]]
PROBLEM = "application/problem+json"
METHODS = ("get", "post", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    errors: tuple[type[Exception], ...]  # of its service
    request: Any
    responses: dict[Any, Any]
    auth: Security | None


def operation(
    *errors: type[Exception], request: Any = None, responses: dict[Any, Any], auth: Security | None = None
) -> Callable[[Handler], Handler]:
    """Describe a handler. `auth` overrides what the view's authenticators say."""

    def describe(handler: Handler) -> Handler:
        handler.operation = Operation(errors, request, responses, auth)  # type: ignore[attr-defined]
        return handler

    return describe


class OperationSchema(AutoSchema):
    method_mapping = dict(zip(METHODS, ("get", "create", "update", "delete"), strict=True))

    def get_operation_id(self) -> str:
        """`login`, `sessions_list`, `me_update`: function names of generated clients."""
        name = re.sub(r"\W+", "_", super().get_operation_id()).removeprefix("auth_").strip("_")
        is_only_method = sum(hasattr(self.view, method) for method in METHODS) == 1
        return re.sub("_(get|create)$", "", name) if is_only_method else name

    def get_tags(self) -> list[str]:
        return list(super().get_tags()) if self.path.startswith("/api/") else ["operations"]

    def get_summary(self) -> str | None:
        return str(super().get_description()).partition("\n")[0] or None

    def get_description(self) -> str:  # type: ignore[override]
        return str(super().get_description()).partition("\n")[2].strip()

    def get_paginated_name(self, serializer_name: str) -> str:
        return f"{serializer_name.removesuffix('Response')}ListResponse"

    def get_auth(self) -> Any:
        declared = self._operation.auth if self._operation else None
        return super().get_auth() if declared is None else declared

    def get_request_serializer(self) -> Any:
        return self._operation.request if self._operation else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        """Successes and problems, by status and media type."""
        declared = self._operation.responses if self._operation else {200: super().get_response_serializers()}
        responses = {
            key: OpenApiResponse(body, HTTPStatus(key[0] if isinstance(key, tuple) else key).phrase)
            for key, body in declared.items()
        }
        problems: dict[int, dict[str, str]] = {}
        for error in self._errors():
            status, code, detail = problem_facts(error)
            problems.setdefault(status, {}).setdefault(code, detail)
        for status, details in sorted(problems.items()):
            responses[status, PROBLEM] = _problem_response(status, details)
        return responses

    def get_override_parameters(self) -> list[Any]:
        headers = [
            _header("X-Request-ID", "The id of this request in the logs.", on=True),
            _header("Retry-After", "Seconds to wait.", on=[429, 503], type="integer", minimum=1),
            _header("WWW-Authenticate", "RFC 6750", on=[401], enum=['Bearer error="invalid_token"']),
        ]
        if self.path.startswith("/api/"):
            headers.append(_header("Cache-Control", "`no-store`", on=True, enum=["no-store"]))
        return headers

    @property
    def _operation(self) -> Operation | None:
        return getattr(getattr(self.view, self.method.lower()), "operation", None)

    def _errors(self) -> Iterator[type[Exception]]:
        """The errors of this endpoint; the first with a code gives its example."""
        yield from self._operation.errors if self._operation else ()
        if self.view.get_authenticators():
            yield accounts.InvalidTokenError
        yield from self._limit_errors()
        if self.method in {"POST", "PATCH"}:
            yield from (accounts.LengthRequiredError, RequestDataTooBig)
        if self._operation and self._operation.request:
            yield from (drf.ValidationError, drf.UnsupportedMediaType)
        if self.method == "GET" and hasattr(self.view, "pagination_class"):
            yield drf.ValidationError
        if "{" in self.path:
            yield Http404
        yield accounts.LimitsUnavailableError

    def _limit_errors(self) -> Iterator[type[Exception]]:
        if isinstance(self.view, LimitedView) and self.method not in self.view.unlimited_methods:
            yield accounts.RateLimitedError
            if self.view.hashes_passwords:
                yield accounts.BusyError


def _problem_response(status: int, details: dict[str, str]) -> OpenApiResponse:
    examples = [
        OpenApiExample(code, openapi_examples.problem(status, code, detail))
        for code, detail in details.items()
    ]
    return OpenApiResponse(_problem_serializer(status, *details), HTTPStatus(status).phrase, examples)


@cache
def _problem_serializer(status: int, *codes: str) -> type[serializers.Serializer]:
    """One component for all problems with this status and these codes."""
    name = "_or_".join(codes).title().replace("_", "")
    fields = {
        "status": serializers.ChoiceField(choices=[status]),
        "code": serializers.ChoiceField(choices=list(codes)),
    }
    return type(f"Problem{status}{name}Response", (Problem,), fields | {"__doc__": Problem.__doc__})


def _header(name: str, description: str, *, on: Any, **schema: Any) -> OpenApiParameter:
    """`on`: the statuses whose responses have it, True for all."""
    return OpenApiParameter(
        name,
        {"type": "string"} | schema,
        OpenApiParameter.HEADER,
        required=True,
        description=description,
        response=on,
    )


class _Bearer(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    description = ""

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": self.description}


class AccessTokenScheme(_Bearer):  # type: ignore[no-untyped-call]
    target_class = "accounts.api.authentication.AccessTokenAuthentication"
    name = "accessToken"
    description = "The `access` of a creator's token pair."


class APIKeyScheme(_Bearer):  # type: ignore[no-untyped-call]
    target_class = "accounts.api.introspection.APIKeyAuthentication"
    match_subclasses = True
    name = "apiKey"
    description = "The key of a resource server, made by `manage.py create_api_key`."


class EndUserScheme(_Bearer):  # type: ignore[no-untyped-call]
    target_class = "accounts.api.sessions.EndUserAuthentication"
    name = "endUserSession"
    description = "The `session` that was issued to an end user."
