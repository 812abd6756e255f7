"""Sessions of end users."""

from typing import Any

from config.tests.support.accounts import Person
from config.tests.support.client import API

SESSIONS = "/api/v1/end-users/sessions"


def open_session(api: API, person: Person, **fields: Any) -> dict[str, Any]:
    response = api.post(SESSIONS, {"creator": str(person.id), **fields})
    assert response.status_code == 201, response.content
    body: dict[str, Any] = response.json()
    return body
