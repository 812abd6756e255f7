"""The data export: its content, streaming and rate limit."""

import json
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.http import StreamingHttpResponse

from accounts.api import exports
from accounts.ratelimits import limits
from accounts.services import data_export
from accounts.tests.support.flows import log_in
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.client import API

INSERT_END_USER_SESSIONS = """
INSERT INTO user_sessions (id, creator_id, created_at, expires_at, metadata)
SELECT gen_random_uuid(), %s, now(), now() + interval '1 day', jsonb_build_object('x', repeat('x', 4000))
FROM generate_series(1, %s)
"""


def test_export_has_an_unconfirmed_new_address(api: API, ada: Person) -> None:
    api.post("email/change", {"new_email": "new@example.com", "password": ada.password}, token=ada.access)
    data = api.get("me/export", token=ada.access).json()
    (change,) = data["email_changes"]
    assert (change["old_email"], change["new_email"]) == (ada.email, "new@example.com")
    assert data["audit_events"][0]["email"] == "new@example.com"


def test_export_has_earlier_events_at_the_address(api: API, bob: Person, transactional_db: None) -> None:
    log_in(api, "zoe@example.com", "wrong")
    log_in(api, "somebody-else@example.com", "wrong")
    zoe = sign_in(make_creator("zoe@example.com"))
    (event,) = api.get("me/export", token=zoe.access).json()["address_events"]
    assert event.keys() == api.get("me/export", token=zoe.access).json()["audit_events"][0].keys()
    assert (event["type"], event["email"], event["ip_address"]) == ("login.failed", zoe.email, "127.0.0.1")
    assert api.get("me/export", token=bob.access).json()["address_events"] == []


def test_reset_request_is_an_event_of_the_account(api: API, ada: Person) -> None:
    api.post("password/reset", {"email": ada.email})
    api.post("password/reset", {"email": "nobody@example.com"})
    events = api.get("/api/v1/audit/events", token=ada.access).json()["results"]
    assert [event["type"] for event in events] == ["password.reset_requested"]


def test_large_export_is_streamed(api: API, ada: Person, bob: Person, superuser: psycopg.Connection) -> None:
    superuser.execute(INSERT_END_USER_SESSIONS, [ada.id, 1500])
    superuser.execute(INSERT_END_USER_SESSIONS, [bob.id, 10])
    response = api.get("me/export", token=ada.access)
    assert isinstance(response, StreamingHttpResponse)
    parts = []
    for part in response:
        assert not connection.in_atomic_block
        parts.append(part)
    assert max(map(len, parts)) < 4200 * data_export.PAGE_SIZE
    data = json.loads(b"".join(parts))
    assert len({session["id"] for session in data["end_user_sessions"]}) == 1500
    assert data["audit_events"][-1]["type"] == "account.exported"
    assert api.get("me", token=ada.access).status_code == 200


def test_interrupted_export_is_invalid_json_and_logged(
    api: API, ada: Person, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    superuser.execute(INSERT_END_USER_SESSIONS, [ada.id, 1000])
    parts = iter(api.get("me/export", token=ada.access))
    first = next(parts)
    (pid,) = connection.fetch_rows("SELECT pg_backend_pid()", {})[0]
    superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(first + b"".join(parts))
    (line,) = [record for record in caplog.records if record.name == exports.__name__]
    assert (line.message, line.exc_info) == ("export aborted", None)
    connection.close()


def test_exports_are_limited_per_hour(api: API, ada: Person, bob: Person) -> None:
    responses: list[Any] = [api.get("me/export", token=ada.access) for _ in range(limits.EXPORTS_AN_HOUR + 1)]
    assert [response.status_code for response in responses] == [200] * limits.EXPORTS_AN_HOUR + [429]
    assert responses[-1].json()["code"] == "rate_limited"
    assert 1 <= int(responses[-1]["Retry-After"]) <= 3600
    assert api.get("me/export", token=bob.access).status_code == 200
