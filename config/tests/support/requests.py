"""A valid body for each endpoint that takes one, and what every problem response must look like."""

from typing import Any

from accounts.api.openapi_examples import BY_NAME
from accounts.api.urls import json_endpoints

AUTH = "/api/v1/auth/"
EMAIL, PASSWORD, UID, TOKEN = (BY_NAME[name] for name in ("email", "password", "uid", "token"))

# path → a well-formed body
BODIES: dict[str, dict[str, Any]] = {
    url: {str(name): BY_NAME[str(name)] for name in serializer().fields}
    for url, _, serializer in json_endpoints()
}
HASHING = [url for url, view, _ in json_endpoints() if getattr(view, "hashes_passwords", False)]


def assert_problem(response: Any, status: int, code: str, why: Any = "") -> dict[str, Any]:
    assert response.status_code == status, (why, response.status_code, response.content[:300])
    assert response["Content-Type"] == "application/problem+json", why
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body), why
    assert set(body) <= {"type", "title", "status", "detail", "code", "request_id", "errors"}, why
    assert (body["status"], body["code"]) == (status, code), why
    assert body["request_id"] == response["X-Request-ID"] != "", why
    for error in body.get("errors", []):
        assert set(error) == {"field", "code", "detail"}, why
    return body
