"""Sessions of end users."""

from typing import Any

from config.tests.support.accounts import Person
from config.tests.support.client import API

DOOR = "/api/v1/end-users/sessions"


def visit(api: API, person: Person, **more: Any) -> dict[str, Any]:
    response = api.post(DOOR, {"creator": str(person.id), **more})
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found
