"""A valid body for each endpoint that takes one, and what every refusal must look like."""

from typing import Any

AUTH = "/api/v1/auth/"


EMAIL, PASSWORD = "zoe@example.com", "a lovely sentence"


UID, TOKEN = "AaIFK3-bcBSW6BR0gZqmRQ", "x" * 43


# door → a body that is well-formed, if nothing else
DOORS: dict[str, dict[str, Any]] = {
    f"{AUTH}register": {"email": EMAIL, "password": PASSWORD, "display_name": "Zoe"},
    f"{AUTH}email/verify": {"uid": UID, "token": TOKEN, "password": PASSWORD},
    f"{AUTH}email/verify/resend": {"email": EMAIL},
    f"{AUTH}email/change": {"new_email": EMAIL, "password": PASSWORD},
    f"{AUTH}email/change/confirm": {"uid": UID, "token": TOKEN},
    f"{AUTH}login": {"email": EMAIL, "password": PASSWORD},
    f"{AUTH}refresh": {"refresh": "a.b.c"},
    f"{AUTH}logout": {"refresh": "a.b.c"},
    f"{AUTH}password/change": {"current_password": PASSWORD, "new_password": PASSWORD},
    f"{AUTH}password/validate": {"password": PASSWORD, "email": EMAIL},
    f"{AUTH}password/reset": {"email": EMAIL},
    f"{AUTH}password/reset/confirm": {"uid": UID, "token": TOKEN, "new_password": PASSWORD},
    f"{AUTH}me/delete": {"password": PASSWORD},
    "/api/v1/end-users/sessions": {"creator": "01a2052b-7f68-7014-96e8-1474819aa645", "metadata": {}},
}


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
