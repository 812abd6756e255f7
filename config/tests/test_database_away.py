"""PostgreSQL is unavailable, or fails during a request: 503 with Retry-After, and no traceback."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections

from accounts.services import sessions
from accounts.tests.support.flows import events, log_in, log_lines, sign_up
from accounts.tokens.key_cache import invalidate_key_ring
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.environment import DATABASE, server
from config.tests.support.requests import assert_problem
from config.tests.support.urls import POST_BODIES
from tenancy.postgresql.base import DatabaseWrapper


@pytest.fixture
def unavailable(ada: Person) -> Iterator[None]:
    """The database accepts no connections, and its sessions are terminated."""
    connections.close_all()
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(f'ALTER DATABASE "{DATABASE}" ALLOW_CONNECTIONS false'.encode())
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [DATABASE]
        )
        try:
            yield
        finally:
            superuser.execute(f'ALTER DATABASE "{DATABASE}" ALLOW_CONNECTIONS true'.encode())
            connections.close_all()


def assert_unavailable(response: Any, why: str) -> None:
    assert_problem(response, 503, "unavailable", why)
    assert int(response["Retry-After"]) >= 1, why
    assert "PostgreSQL" not in response.content.decode(), why


@pytest.mark.usefixtures("unavailable")
def test_every_endpoint_answers_503_with_retry_after(ada: Person) -> None:
    api = API(raise_request_exception=False)
    invalidate_key_ring()
    with log_lines() as lines:
        for path, body in POST_BODIES.items():
            connections.close_all()
            assert_unavailable(api.post(path, body, token=ada.access), path)
        for path in ("me", "sessions", "/api/v1/audit/events", "/.well-known/jwks.json"):
            assert_unavailable(api.get(path, token=ada.access), path)
        assert_unavailable(api.post("logout/all", token=ada.access), "logout/all")
    invalidate_key_ring()
    log = lines.getvalue()
    assert "Traceback" not in log
    assert all(json.loads(line)["message"] for line in log.splitlines())
    assert '"status": 503' in log


@pytest.mark.usefixtures("unavailable")
def test_page_answers_503_with_html() -> None:
    api = API(raise_request_exception=False)
    with log_lines() as lines:
        response = api.get("/account/verify-email/AaIFK3-bcBSW6BR0gZqmRQ/" + "x" * 43 + "/")
    assert response.status_code == 503
    assert response["Content-Type"].startswith("text/html")
    assert "Traceback" not in lines.getvalue()


@pytest.mark.usefixtures("unavailable")
def test_alive_but_not_ready() -> None:
    api = API(raise_request_exception=False)
    assert api.get("/healthz").status_code == 200
    problem = assert_problem(api.get("/readyz"), 503, "unavailable")
    assert "database" in problem["detail"]


def test_service_recovers_with_the_database(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    """After a terminated session, one request may fail; the next one succeeds."""
    assert log_in(api, ada.email).status_code == 200
    superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'auth_app'",
        [DATABASE],
    )
    first = api.get("me", token=ada.access)
    if first.status_code != 200:
        assert_unavailable(first, "terminated session")
    connections["default"].close_if_unusable_or_obsolete()  # as at the start of a request
    assert api.get("me", token=ada.access).status_code == 200


@pytest.mark.parametrize("moment", ["before the session", "after the session"])
def test_login_that_loses_its_connection_is_rolled_back(
    api: API, ada: Person, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    start = sessions.start_session

    def terminate(*new: Any, **given: Any) -> Any:
        row = start(*new, **given) if moment == "after the session" else None
        (pid,) = connections["default"].cursor().execute("SELECT pg_backend_pid()").fetchone()
        superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connections["default"].cursor().execute("SELECT 1")
        return row

    (before,) = superuser.execute("SELECT count(*) FROM sessions").fetchone()  # type: ignore[misc]
    with monkeypatch.context() as patch, log_lines() as lines:
        patch.setattr(sessions, "start_session", terminate)
        assert_unavailable(log_in(api, ada.email), moment)
    assert "Traceback" not in lines.getvalue()
    assert superuser.execute("SELECT count(*) FROM sessions").fetchone() == (before,)
    assert "login.succeeded" not in events(superuser)
    connections.close_all()
    assert log_in(api, ada.email).status_code == 200


def test_failed_commit_is_no_success(
    api: API, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """202 is sent only after the commit."""
    connection = connections["default"]

    def failing() -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", failing)
        assert_unavailable(
            api.post("register", {"email": "zoe@example.com", "password": "a lovely sentence"}), "commit"
        )
    assert superuser.execute("SELECT count(*) FROM creators").fetchone() == (0,)
    connections.close_all()
    sign_up(api, "zoe@example.com")


def test_failed_connection_setup_is_retried_by_the_next_request(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: Any) -> None:
        monkeypatch.undo()
        raise OperationalError

    api = API(raise_request_exception=False)
    connections["default"].close()
    monkeypatch.setattr(DatabaseWrapper, "_configure_connection", cancelled)
    assert_unavailable(api.get("me", token=ada.access), "cancelled")
    assert api.get("me", token=ada.access).status_code == 200
