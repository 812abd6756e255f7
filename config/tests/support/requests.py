"""What every problem response must look like."""

from typing import Any


def assert_problem(response: Any, status: int, code: str, context: Any = "") -> dict[str, Any]:
    assert response.status_code == status, (context, response.status_code, response.content[:300])
    assert response["Content-Type"] == "application/problem+json", context
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body), context
    assert set(body) <= {"type", "title", "status", "detail", "code", "request_id", "errors"}, context
    assert (body["status"], body["code"]) == (status, code), context
    assert body["request_id"] == response["X-Request-ID"] != "", context
    for error in body.get("errors", []):
        assert set(error) == {"field", "code", "detail"}, context
    return body
