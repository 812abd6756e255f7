"""A creator's visitors: cheap, anonymous, and good for nothing of the creator's."""

import json
import random
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts.models import EndUserSession
from accounts.services.end_users import stored_bytes
from accounts.tests.support.end_users import DOOR, visit
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import tenant_scope


def test_visitor_gets_a_session_and_sees_it(api: API, ada: Person) -> None:
    opened = visit(api, ada, metadata={"theme": "dark", "n": [1, {"x": None}]})
    assert set(opened) == {"session", "session_id", "expires_at"}
    current = api.get(f"{DOOR}/current", token=opened["session"])
    assert current.status_code == 200
    assert current.json()["id"] == opened["session_id"]
    assert current.json()["metadata"] == {"theme": "dark", "n": [1, {"x": None}]}


def test_visitors_token_opens_nothing_of_the_creators_and_back(api: API, ada: Person) -> None:
    session = visit(api, ada)["session"]
    for path in ("me", "sessions", "me/export", DOOR, "/api/v1/audit/events"):
        assert api.get(path, token=session).status_code == 401, path
    assert api.post("refresh", {"refresh": session}).status_code == 401
    assert api.get(f"{DOOR}/current", token=ada.access).status_code == 401
    assert api.get(f"{DOOR}/current").status_code == 401


def test_ending_it_is_final(api: API, ada: Person) -> None:
    session = visit(api, ada)["session"]
    assert api.delete(f"{DOOR}/current", token=session).status_code == 204
    assert api.get(f"{DOOR}/current", token=session).status_code == 401
    assert api.delete(f"{DOOR}/current", token=session).status_code == 401


def test_creator_lists_and_ends_only_own_visitors(api: API, ada: Person, bob: Person) -> None:
    opened = visit(api, ada)
    visit(api, bob)
    listed = api.get(DOOR, token=ada.access).json()["results"]
    assert [row["id"] for row in listed] == [opened["session_id"]]
    assert api.delete(f"{DOOR}/{opened['session_id']}", token=bob.access).status_code == 404
    assert api.delete(f"{DOOR}/{opened['session_id']}", token=ada.access).status_code == 204
    assert api.get(f"{DOOR}/current", token=opened["session"]).status_code == 401


def test_unknown_or_deactivated_creator_takes_nobody(api: API, ada: Person, superuser: Any) -> None:
    session = visit(api, ada)["session"]
    assert api.post(DOOR, {"creator": str(uuid4())}).status_code == 404
    superuser.execute("UPDATE creators SET is_active = false")
    assert api.post(DOOR, {"creator": str(ada.id)}).status_code == 404
    assert api.get(f"{DOOR}/current", token=session).status_code == 401


def test_creators_bearer_at_the_open_door_does_no_harm(api: API, ada: Person, bob: Person) -> None:
    assert api.post(DOOR, {"creator": str(bob.id)}, token=ada.access).status_code == 201
    assert api.post(DOOR, {"creator": str(bob.id)}, token="rubbish").status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"creator": "x"},
        {"metadata": {}},
        {"metadata": {"x": "a" * 4096}},
        {"metadata": []},
        {"metadata": {"x": "\0"}},
    ],
)
def test_bad_input_is_named(api: API, ada: Person, body: dict[str, Any]) -> None:
    if body.get("metadata"):
        body = {"creator": str(ada.id), **body}
    response = api.post(DOOR, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-308", "5e-324", "1.7976931348623157e308"])
def test_metadata_are_measured_as_they_are_stored(api: API, ada: Person, superuser: Any, number: str) -> None:
    """PostgreSQL keeps numbers exactly, and writes these out with more than 300 digits."""
    for count, status in ((500, 400), (12, 201)):
        body = f'{{"creator": "{ada.id}", "metadata": {{"x": [{", ".join([number] * count)}]}}}}'
        response = api.generic("POST", DOOR, body.encode(), content_type="application/json")
        assert response.status_code == status, response.content
    stored = "SELECT max(octet_length(metadata::text)) FROM user_sessions"
    assert 3500 < superuser.execute(stored).fetchone()[0] <= 4096
    assert len(api.get(DOOR, token=ada.access).content) < 5000


def test_metadata_are_never_longer_than_they_were_measured(superuser: Any) -> None:
    dice = random.Random(1)
    scalars: list[Any] = [
        None,
        True,
        "",
        "ä\u2028🦊",
        'q"b\\',
        "\x01\x1f\x7f\t",
        0,
        -7,
        10**40,
        0.1,
        -0.0,
        1e16,
        1e22,
        1.5e300,
        5e-324,
    ]
    for _ in range(200):
        value = {
            "x": dice.choices(scalars, k=5),
            "y": {"z": dice.choice(scalars)},
            "w": [[{}], []],
        }
        (stored,) = superuser.execute(
            "SELECT octet_length((%s::jsonb)::text)", [json.dumps(value)]
        ).fetchone()
        assert stored <= stored_bytes(value) <= stored + 8


def test_database_keeps_no_longer_metadata(ada: Person) -> None:
    row = {"creator_id": ada.id, "created_at": timezone.now(), "expires_at": timezone.now()}
    with tenant_scope(ada.id):
        EndUserSession.objects.create(metadata={"x": "a" * 4087}, **row)
        with pytest.raises(IntegrityError, match="user_sessions_metadata_size"):
            EndUserSession.objects.create(metadata={"x": "a" * 4088}, **row)


def test_session_expires(api: API, ada: Person, superuser: Any) -> None:
    session = visit(api, ada)["session"]
    superuser.execute("UPDATE user_sessions SET expires_at = %s", [timezone.now() - timedelta(seconds=1)])
    assert api.get(f"{DOOR}/current", token=session).status_code == 401
