"""RFC 9457 problems: the table from exceptions to status codes."""

import sys
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from rest_framework import exceptions as drf

from accounts import exceptions as accounts
from accounts.ratelimits.cache import REDIS_ERRORS
from audit.requests.metrics import DATABASE_ERRORS

# exception → (status, code, detail); None means the attribute of the exception
TABLE: dict[type[Exception], tuple[int, str | None, str | None]] = {
    accounts.InvalidCredentialsError: (401, None, None),
    accounts.InvalidTokenError: (401, None, None),
    accounts.TokenReusedError: (401, None, None),
    accounts.InvalidLinkError: (400, None, None),
    accounts.WeakPasswordError: (400, None, None),
    accounts.CreatorNotFoundError: (404, None, None),
    accounts.WrongPasswordError: (403, None, None),
    accounts.AccountLockedError: (429, None, None),
    accounts.RateLimitedError: (429, None, None),
    accounts.NoSigningKeyError: (503, None, None),
    accounts.LimitsUnavailableError: (503, None, None),
    accounts.BusyError: (503, None, None),
    drf.ValidationError: (400, "invalid_input", "Some fields are missing or invalid."),
    drf.ParseError: (400, "invalid_input", "The body is not the JSON that was expected."),
    drf.NotAuthenticated: (401, "invalid_token", accounts.InvalidTokenError.detail),
    drf.AuthenticationFailed: (401, "invalid_token", accounts.InvalidTokenError.detail),
    drf.PermissionDenied: (403, "permission_denied", "This is not allowed."),
    PermissionDenied: (403, "permission_denied", "This is not allowed."),
    drf.NotFound: (404, "not_found", "There is nothing here."),
    Http404: (404, "not_found", "There is nothing here."),
    drf.MethodNotAllowed: (405, "method_not_allowed", "This method is not allowed here."),
    accounts.LengthRequiredError: (411, None, None),
    RequestDataTooBig: (413, "body_too_large", "The body is longer than 64 KiB."),
    drf.UnsupportedMediaType: (415, "unsupported_media_type", "Send application/json."),
    BadRequest: (400, "invalid_input", "The request is malformed."),
    SuspiciousOperation: (400, "invalid_input", "The request is malformed."),
    **dict.fromkeys(
        (OperationalError, InterfaceError, *REDIS_ERRORS),
        (503, "unavailable", "The service is unavailable at the moment."),
    ),
}


def problem(
    request: Any,
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    retry_after: int = accounts.RETRY_AFTER,
) -> HttpResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": getattr(request, "request_id", ""),
    }
    if errors:
        body["errors"] = errors
    response = JsonResponse(body, status=status, content_type="application/problem+json")
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        response["Retry-After"] = str(max(1, retry_after))
    return response


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's hook. Returns None, which makes it a 500, for an exception that is not in the table.

    DRF authenticates before it checks the method; an unknown method is 405 for anonymous callers too.
    """
    method, allowed = context["request"].method, context["view"].allowed_methods
    if isinstance(error, accounts.InvalidTokenError | drf.NotAuthenticated) and method not in allowed:
        error = drf.MethodNotAllowed(method)
    response = problem_for(context["request"], error)
    if response is not None and isinstance(error, drf.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def problem_for(request: Any, error: Exception) -> HttpResponse | None:
    """The problem for an exception; None if it is not in the table."""
    if isinstance(error, DatabaseError | InterfaceError):
        DATABASE_ERRORS.labels(type(error).__name__).inc()
    is_known = any(kind in TABLE for kind in type(error).__mro__)
    return problem_response(request, error) if is_known else None


def problem_response(request: Any, error: Exception) -> HttpResponse:
    status, code, detail = problem_facts(type(error))
    retry_after = getattr(error, "retry_after", accounts.RETRY_AFTER)
    return problem(request, status, code, detail, errors=_errors(error), retry_after=retry_after)


def problem_facts(error: type[Exception]) -> tuple[int, str, str]:
    """Status, code and detail of an exception in the table."""
    status, code, detail = next(TABLE[kind] for kind in error.__mro__ if kind in TABLE)
    return status, code or error.code, detail or error.detail  # type: ignore[attr-defined]


def _errors(error: Exception) -> list[dict[str, str]]:
    if isinstance(error, accounts.WeakPasswordError):
        return [{"field": error.field, "code": code, "detail": detail} for code, detail in error.errors]
    if isinstance(error, drf.ValidationError):
        return list(_flatten_errors("", error.get_full_details()))
    return []


def _flatten_errors(field: str, details: Any) -> Any:
    """DRF's nested details as a flat list; `a.b` is field `b` of field `a`."""
    if isinstance(details, dict) and details.keys() == {"message", "code"}:
        yield {"field": field, "code": str(details["code"]), "detail": str(details["message"])}
    elif isinstance(details, dict):
        for name, inner in details.items():
            inner_field = "" if name == "non_field_errors" else str(name)
            yield from _flatten_errors(".".join(filter(None, (field, inner_field))), inner)
    else:
        for inner in details:
            yield from _flatten_errors(field, inner)


def _wants_html(request: HttpRequest) -> bool:
    return request.path.startswith(("/account/", "/admin/"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return render(request, "400.html", status=400)
    return problem_for(request, exception) or problem(
        request, 400, "invalid_input", "The request is malformed."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_html(request):
        return render(request, "404.html", status=404)
    return problem(request, 404, "not_found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    response = problem_for(request, error) if isinstance(error, Exception) else None
    if _wants_html(request):
        page = render(request, "500.html", status=response.status_code if response else 500)
        if response and response.has_header("Retry-After"):
            page["Retry-After"] = response["Retry-After"]
        return page
    return response or problem(request, 500, "internal_error", "Something went wrong on our side.")
