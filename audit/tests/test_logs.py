"""One JSON log line per request, with its id and route, and without secrets."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import OperationalError
from django.test import Client

from audit.requests.logs import ExpectedErrorsFilter
from config.tests.support.accounts import Person
from config.tests.support.client import API

PASSWORD = "seven lanterns above a quiet harbour"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stderr() -> Iterator[io.StringIO]:
    """The service's log, through its own handler, formatter and filters, at level DEBUG."""
    (handler,) = (handler for handler in logging.root.handlers if handler.name == "stderr")
    assert isinstance(handler, logging.StreamHandler)
    written, level = io.StringIO(), logging.root.level
    original = handler.setStream(written)
    logging.root.setLevel(logging.DEBUG)
    logging.getLogger("django").setLevel(logging.DEBUG)
    yield written
    logging.root.setLevel(level)
    logging.getLogger("django").setLevel(level)
    handler.setStream(original)


@pytest.fixture
def lines(stderr: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


def requests(lines: Lines) -> list[dict[str, Any]]:
    return [line for line in lines() if line["logger"] == "audit.requests"]


def test_each_request_has_one_line_with_its_id(api: API, lines: Lines) -> None:
    response = api.post("login", {"email": "nobody@example.com", "password": "wrong"})
    (line,) = requests(lines)
    assert line["request_id"] == response["X-Request-ID"] == response.json()["request_id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "api/v1/auth/login", 401)
    assert line["milliseconds"] > 0
    assert line["level"] == "INFO"
    event = next(line for line in lines() if line["message"] == "login.failed")
    assert event["request_id"] == line["request_id"]


@pytest.mark.parametrize(
    ("client_id", "is_logged"),
    [
        ("trace-0123.A_b", True),
        ("01a211d18e5c70148b5f0e2e5fd2a9b1", True),  # in the format of ours
        ("short", False),
        ("x" * 65, False),
        ('a"b\\c{}}}', False),
        ("a b c d e f", False),
    ],
)
def test_client_request_id_is_only_logged(
    api: API, ada: Person, lines: Lines, stderr: io.StringIO, client_id: str, is_logged: bool
) -> None:
    response = api.post("login", {"email": ada.email, "password": "wrong"}, **{"X-Request-ID": client_id})
    ours = response["X-Request-ID"]
    assert ours == response.json()["request_id"] != client_id
    (line,) = requests(lines)
    assert (line["request_id"], line.get("client_request_id")) == (ours, client_id if is_logged else None)
    assert stderr.getvalue().count(json.dumps(client_id)) == is_logged
    (event, *_) = api.get("/api/v1/audit/events", token=ada.access).json()["results"]
    assert (event["type"], event["request_id"]) == ("login.failed", ours)
    assert client_id not in json.dumps(event)


def test_host_origin_and_method_are_not_logged_as_sent(api: API, lines: Lines, stderr: io.StringIO) -> None:
    api.get("/healthz", Host="mallory.example")
    api.get("/account/password-reset/", Host="mallory.example")
    api.call("MALLORY", "/healthz")
    browser = Client(enforce_csrf_checks=True)
    for header in ({"Origin": "https://mallory.example"}, {"Referer": "https://mallory.example/"}):
        browser.cookies["csrftoken"] = "a" * 32
        sent = browser.post(
            "/account/password-reset/", headers=header | {"X-Forwarded-Proto": "https"}, secure=True
        )
        assert sent.status_code == 403
    assert "mallory" not in stderr.getvalue().lower()
    messages = [line["message"] for line in lines()]
    assert "refused (DisallowedHost)" in messages
    assert "Forbidden (Origin checking failed): account/password-reset/" in messages
    assert [line["method"] for line in requests(lines)][2] == "other"


def test_two_requests_have_two_ids(api: API, ada: Person, lines: Lines) -> None:
    for _ in range(2):
        api.get("me", token=ada.access)
    first, second = (line["request_id"] for line in requests(lines))
    assert first != second


@pytest.mark.parametrize(
    "path", ["/account/verify-email/{0}/{0}/", "/account/reset/{0}/{0}/", "/nowhere/{0}", "/api/v1/{0}"]
)
def test_route_is_logged_instead_of_the_path(api: API, stderr: io.StringIO, path: str) -> None:
    api.get(path.format("s3cr3t-token"))
    api.post(path.format("s3cr3t-token"), {})
    assert "s3cr3t-token" not in stderr.getvalue()
    assert "audit.requests" in stderr.getvalue()


def test_query_and_headers_are_not_logged(api: API, stderr: io.StringIO) -> None:
    api.get("/healthz?token=s3cr3t", Cookie="sessionid=s3cr3t", Authorization="Bearer s3cr3t")
    assert "s3cr3t" not in stderr.getvalue()


def test_crash_is_one_line_without_the_request(
    api: API, lines: Lines, stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("accounts.services.email_verification.is_usable", crash)
    response = api.get("/account/verify-email/s3cr3t-uid/s3cr3t-token/")
    assert response.status_code == 500
    (line,) = (line for line in lines() if line["level"] == "ERROR")
    assert "ZeroDivisionError" in line["exc_info"]
    assert "account/verify-email/<str:uid>/<str:token>/" in line["message"]
    assert line["request_id"] == response["X-Request-ID"]
    assert "request" not in line
    assert "s3cr3t" not in stderr.getvalue()


def test_unavailable_database_is_one_line_without_a_traceback() -> None:
    try:
        raise OperationalError
    except OperationalError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "Failed: %s", ("y",), (type(error), error, None)
        )
    assert ExpectedErrorsFilter().filter(record)
    assert (record.getMessage(), record.exc_info) == ("Failed: y (OperationalError)", None)


def test_no_secret_is_logged(
    api: API, stderr: io.StringIO, lines: Lines, run_jobs: Callable[[], int]
) -> None:
    secrets = use_every_secret(api, run_jobs)
    assert len(secrets) > 12
    written = stderr.getvalue()
    assert [secret for secret in secrets if secret in written] == []
    assert {line["route"] for line in requests(lines)} >= {
        "api/v1/auth/register", "account/verify-email/<str:uid>/<str:token>/", "account/reset/<str:uid>/<str:token>/",
        "api/v1/auth/login", "api/v1/auth/refresh", "api/v1/auth/logout",
    }  # fmt: skip
    assert all(line["request_id"] for line in requests(lines))


def use_every_secret(api: API, run_jobs: Callable[[], int]) -> list[str]:
    """Go from sign-up to sign-out, with some errors; returns every secret that was sent or received."""
    email, wrong, new = "zoe@example.com", "not the password of Zoe", "eight lanterns below a loud harbour"
    api.post("register", {"email": email, "password": PASSWORD})
    uid, token = last_link(run_jobs)
    api.get(f"/account/verify-email/{uid}/{token}/")
    api.post("email/verify", {"uid": uid, "token": token, "password": wrong})
    pair = api.post("email/verify", {"uid": uid, "token": token, "password": PASSWORD}).json()
    api.post("email/verify", {"uid": uid, "token": token, "password": PASSWORD})
    api.post("login", {"email": email, "password": wrong})
    login = api.post("login", {"email": email, "password": PASSWORD}).json()
    successor = api.post("refresh", {"refresh": login["refresh"]}).json()
    api.get("me", token=successor["access"])
    api.get("me", token=successor["access"] + "x")
    api.patch("me", {"display_name": "Zoë"}, token=successor["access"])
    api.post("password/validate", {"password": wrong})
    api.post("password/reset", {"email": email})
    _, reset = last_link(run_jobs)
    api.get(f"/account/reset/{uid}/{reset}/")
    api.post("password/reset/confirm", {"uid": uid, "token": reset, "new_password": "short"})
    assert (
        api.post("password/reset/confirm", {"uid": uid, "token": reset, "new_password": new}).status_code
        == 204
    )
    api.post("logout", {"refresh": successor["refresh"]}, token=successor["access"])
    tokens = [response[kind] for response in (pair, login, successor) for kind in ("access", "refresh")]
    signatures = [token.rpartition(".")[2] for token in tokens]
    return [PASSWORD, wrong, new, token, reset, *tokens, *signatures]


def last_link(run_jobs: Callable[[], int]) -> tuple[str, str]:
    """`uid, token` in the newest mail."""
    assert run_jobs()
    match = re.search(r"/account/[a-z-]+/([\w-]+)/([\w-]+)/", str(mail.outbox[-1].body))
    assert match
    return match[1], match[2]
