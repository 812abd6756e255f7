"""What OpenAPI says of a door, from the facts of its view: nobody writes down an answer twice.

A handler names what it request, what it gives and which refusals are its own; the limit, the
authenticators, the parsers and the path say the rest. Statuses, codes and sentences of refusals
come from the one table in `problems.py`.
"""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http import Http404
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions as drf

from accounts import exceptions as accounts

from . import openapi_examples
from .problems import problem_facts
from .serializers import Problem

Handler = TypeVar("Handler", bound=Callable[..., Any])
PROBLEM = "application/problem+json"
WITH_BODY = {"POST", "PUT", "PATCH"}
TRIED_AGAIN = {"429", "503"}
METHODS = ("get", "post", "patch", "delete")


def operation(
    *errors: type[Exception],
    request: Any = None,
    responses: dict[Any, Any],
    optional_bearer: bool = False,
    **more: Any,
) -> Callable[[Handler], Handler]:
    """Describe a handler: serializers of its request and answers, and the refusals of its service."""
    if optional_bearer:
        more["auth"] = [{}, {AccessTokenScheme.name: []}]

    def describe(handler: Handler) -> Handler:
        described: Handler = extend_schema(request=request, responses=responses, **more)(handler)
        described.errors = errors  # type: ignore[attr-defined]
        described.request_serializer = request  # type: ignore[attr-defined]
        return described

    return describe


class OperationSchema(AutoSchema):
    method_mapping = dict(zip(METHODS, ("get", "create", "update", "delete"), strict=True))

    def get_operation_id(self) -> str:
        """`login`, `sessions_list`, `me_update`: generated clients call their functions so."""
        words = re.sub(r"\W+", "_", super().get_operation_id()).removeprefix("auth_").strip("_")
        only = sum(hasattr(self.view, method) for method in METHODS) == 1
        return re.sub("_(get|create)$", "", words) if only else words

    def get_tags(self) -> list[str]:
        return self._tokenize_path()[:1] if self.path.startswith("/api/") else ["operations"]

    def get_summary(self) -> str | None:
        return self._words().partition("\n")[0] or None

    def get_description(self) -> str:  # type: ignore[override]
        return self._words().partition("\n")[2].strip()

    def _words(self) -> str:
        return str(super().get_description())

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        known: dict[int, dict[str, str]] = {}
        for error in self._errors():
            number, code, detail = problem_facts(error)
            known.setdefault(number, {}).setdefault(code, detail)
        bodies |= {str(number): self._problem(number, codes) for number, codes in known.items()}
        for status, body in bodies.items():
            body["description"] = body.get("description") or HTTPStatus(int(status)).phrase
        return dict(sorted(bodies.items()))

    def _errors(self) -> Iterator[type[Exception]]:
        """What this door may answer instead; the first of a code gives its example."""
        handler = getattr(self.view, self.method.lower())
        yield from getattr(handler, "errors", ())
        if self.view.get_authenticators():
            yield accounts.InvalidTokenError
        if self._is_limited():
            yield accounts.RateLimitedError
            if getattr(self.view, "hashes_passwords", False):
                yield accounts.BusyError
        if self.method in WITH_BODY:
            yield accounts.LengthRequiredError
            yield RequestDataTooBig
        if self._get_request_body():  # type: ignore[no-untyped-call]
            yield drf.ValidationError
            yield drf.UnsupportedMediaType
        if self.method == "GET" and hasattr(self.view, "pagination_class"):
            yield drf.ValidationError
        if "{" in self.path:
            yield Http404
        yield accounts.LimitsUnavailableError

    def _is_limited(self) -> bool:
        return hasattr(self.view, "limit") and self.method not in getattr(self.view, "unlimited", ())

    def _problem(self, status: int, codes: dict[str, str]) -> dict[str, Any]:
        shown = {code: {"value": openapi_examples.problem(status, code, codes[code])} for code in codes}
        return {
            "description": HTTPStatus(status).phrase,
            "headers": self._get_response_headers_for_code(str(status)),
            "content": {PROBLEM: {"schema": self._problem_schema(status, list(codes)), "examples": shown}},
        }

    def _problem_schema(self, status: int, codes: list[str]) -> dict[str, str]:
        """One component for all answers of this status and these codes."""
        narrowed = {
            "type": "object",
            "properties": {
                "status": {"type": "integer", "enum": [status]},
                "code": {"type": "string", "enum": codes},
            },
        }
        words = "_or_".join(codes).title().replace("_", "")
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name=f"Problem{status}{words}",
            type=ResolvedComponent.SCHEMA,
            object=words,
            schema={"allOf": [self.resolve_serializer(Problem, "response").ref, narrowed]},
        )
        self.registry.register_on_missing(component)
        ref: dict[str, str] = component.ref
        return ref

    def _get_response_headers_for_code(self, status_code: str, direction: Any = "response") -> Any:
        headers = super()._get_response_headers_for_code(status_code, direction)
        headers |= {
            "X-Request-ID": _header("Yours, if it had the form of one, or a new one; it stands in the logs.")
        }
        if self.path.startswith("/api/"):
            headers["Cache-Control"] = _header("`no-store`", enum=["no-store"])
        if status_code in TRIED_AGAIN:
            headers["Retry-After"] = _header("Seconds to wait.", type="integer", minimum=1)
        if status_code == "401":
            headers["WWW-Authenticate"] = _header("RFC 6750", enum=['Bearer error="invalid_token"'])
        return headers


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string"} | schema}


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
    description = "The `session` that a visitor was given."
