"""Sessions of anonymous end users, separate from those of their creator."""

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
from accounts.tests.support.end_users import SESSIONS, open_session
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import tenant_scope


def test_end_user_opens_a_session_and_reads_it(api: API, ada: Person) -> None:
    opened = open_session(api, ada, metadata={"theme": "dark", "n": [1, {"x": None}]})
    assert set(opened) == {"session", "session_id", "expires_at"}
    current = api.get(f"{SESSIONS}/current", token=opened["session"])
    assert current.status_code == 200
    assert current.json()["id"] == opened["session_id"]
    assert current.json()["metadata"] == {"theme": "dark", "n": [1, {"x": None}]}


def test_tokens_of_end_users_and_creators_are_not_interchangeable(api: API, ada: Person) -> None:
    session = open_session(api, ada)["session"]
    for path in ("me", "sessions", "me/export", SESSIONS, "/api/v1/audit/events"):
        assert api.get(path, token=session).status_code == 401, path
    assert api.post("refresh", {"refresh": session}).status_code == 401
    assert api.get(f"{SESSIONS}/current", token=ada.access).status_code == 401
    assert api.get(f"{SESSIONS}/current").status_code == 401


def test_ended_session_stays_ended(api: API, ada: Person) -> None:
    session = open_session(api, ada)["session"]
    assert api.delete(f"{SESSIONS}/current", token=session).status_code == 204
    assert api.get(f"{SESSIONS}/current", token=session).status_code == 401
    assert api.delete(f"{SESSIONS}/current", token=session).status_code == 401


def test_creator_lists_and_ends_only_own_end_users(api: API, ada: Person, bob: Person) -> None:
    opened = open_session(api, ada)
    open_session(api, bob)
    listed = api.get(SESSIONS, token=ada.access).json()["results"]
    assert [row["id"] for row in listed] == [opened["session_id"]]
    assert api.delete(f"{SESSIONS}/{opened['session_id']}", token=bob.access).status_code == 404
    assert api.delete(f"{SESSIONS}/{opened['session_id']}", token=ada.access).status_code == 204
    assert api.get(f"{SESSIONS}/current", token=opened["session"]).status_code == 401


def test_unknown_or_deactivated_creator_gets_no_end_users(api: API, ada: Person, superuser: Any) -> None:
    session = open_session(api, ada)["session"]
    assert api.post(SESSIONS, {"creator": str(uuid4())}).status_code == 404
    superuser.execute("UPDATE creators SET is_active = false")
    assert api.post(SESSIONS, {"creator": str(ada.id)}).status_code == 404
    assert api.get(f"{SESSIONS}/current", token=session).status_code == 401


def test_opening_a_session_ignores_the_bearer(api: API, ada: Person, bob: Person) -> None:
    assert api.post(SESSIONS, {"creator": str(bob.id)}, token=ada.access).status_code == 201
    assert api.post(SESSIONS, {"creator": str(bob.id)}, token="rubbish").status_code == 201


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
def test_invalid_input_is_refused(api: API, ada: Person, body: dict[str, Any]) -> None:
    if body.get("metadata"):
        body = {"creator": str(ada.id), **body}
    response = api.post(SESSIONS, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_input")


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-308", "5e-324", "1.7976931348623157e308"])
def test_metadata_is_measured_as_stored(api: API, ada: Person, superuser: Any, number: str) -> None:
    """PostgreSQL stores numbers exactly, and prints these with more than 300 digits."""
    for count, status in ((500, 400), (12, 201)):
        body = f'{{"creator": "{ada.id}", "metadata": {{"x": [{", ".join([number] * count)}]}}}}'
        response = api.generic("POST", SESSIONS, body.encode(), content_type="application/json")
        assert response.status_code == status, response.content
    stored = "SELECT max(octet_length(metadata::text)) FROM user_sessions"
    assert 3500 < superuser.execute(stored).fetchone()[0] <= 4096
    assert len(api.get(SESSIONS, token=ada.access).content) < 5000


def test_stored_metadata_is_never_longer_than_measured(superuser: Any) -> None:
    rng = random.Random(1)
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
            "x": rng.choices(scalars, k=5),
            "y": {"z": rng.choice(scalars)},
            "w": [[{}], []],
        }
        (stored,) = superuser.execute(
            "SELECT octet_length((%s::jsonb)::text)", [json.dumps(value)]
        ).fetchone()
        assert stored <= stored_bytes(value) <= stored + 8


def test_database_refuses_too_long_metadata(ada: Person) -> None:
    row = {"creator_id": ada.id, "created_at": timezone.now(), "expires_at": timezone.now()}
    with tenant_scope(ada.id):
        EndUserSession.objects.create(metadata={"x": "a" * 4087}, **row)
        with pytest.raises(IntegrityError, match="user_sessions_metadata_size"):
            EndUserSession.objects.create(metadata={"x": "a" * 4088}, **row)


def test_session_expires(api: API, ada: Person, superuser: Any) -> None:
    session = open_session(api, ada)["session"]
    superuser.execute("UPDATE user_sessions SET expires_at = %s", [timezone.now() - timedelta(seconds=1)])
    assert api.get(f"{SESSIONS}/current", token=session).status_code == 401
