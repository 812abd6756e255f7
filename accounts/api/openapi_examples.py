"""Examples for the OpenAPI document, by field name. Tests send them as well-formed bodies."""

from http import HTTPStatus
from typing import Any

_ID = "0199d3a5-6f4e-7c3a-9b51-2f0d8c7e4a10"
_JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjRyIn0.eyJzdWIiOiIwMTk5ZDNhNSJ9.c2lnbmF0dXJl"
_PASSWORD = "seven lanterns above a quiet harbour"  # noqa: S105
_TIME = "2026-01-31T09:30:00Z"
_REQUEST_ID = "0199d3a56f4e7c3a9b512f0d8c7e4a10"

BY_NAME: dict[str, Any] = {
    "access": _JWT,
    "at": _TIME,
    "created_at": _TIME,
    "creator": _ID,
    "current_password": _PASSWORD,
    "device": "Firefox on Linux",
    "display_name": "Ada",
    "email": "ada@example.com",
    "expires_at": _TIME,
    "expires_in": 3600,
    "id": _ID,
    "ip_address": "203.0.113.7",
    "jti": _ID,
    "last_login_at": _TIME,
    "last_used_at": _TIME,
    "metadata": {"theme": "dark"},
    "new_email": "ada@example.org",
    "new_password": "nine kites over a windy meadow",
    "password": _PASSWORD,
    "refresh": _JWT,
    "refresh_expires_in": 2592000,
    "request_id": _REQUEST_ID,
    "session": _JWT,
    "session_id": _ID,
    "sid": _ID,
    "sub": _ID,
    "token": "Yp7ZbX0pQ1m3w9nKQ2o5v8s1u4x7A0D3G6J9M2P5S8V",
    "token_type": "Bearer",
    "uid": "AZnTpW9OfDqbUS8NjH5KEA",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": _REQUEST_ID,
    }


def add_examples(result: Any, generator: Any, **context: Any) -> Any:
    """Give each field its example (a postprocessing hook of drf-spectacular)."""
    for schema in result["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            if name in BY_NAME and "$ref" not in field and "enum" not in field:
                field.setdefault("examples", [BY_NAME[name]])
    return result
