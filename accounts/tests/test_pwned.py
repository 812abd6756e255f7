"""HaveIBeenPwned, in all its moods: nobody waits, nobody is refused for it, nobody learns the password."""

import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest

from accounts.passwords import pwned as module
from accounts.passwords.pwned import PwnedPasswordsClient
from accounts.tests.support.flows import log_lines
from config.launcher.process import wait_until
from config.tests.support.client import API

BREACHED = "a breached lovely sentence"
UNKNOWN = "an unheard of lovely sentence"
DEADLINE = 0.4
MARGIN = 0.4  # seconds, for the rest of a request on a busy machine
Mood = Callable[[BaseHTTPRequestHandler], object]


def digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


def honest(request: BaseHTTPRequestHandler) -> None:
    prefix = request.path.rpartition("/")[2]
    lines = [f"{digest(BREACHED)[5:]}:1,234"] if digest(BREACHED).startswith(prefix) else []
    lines += ["0018A45C4D1DEF81644B54AB7F969B88D65:0", "00D4F6E8FA6EECAD2A3AA415EEC418D38EC:0"]
    answer(request, 200, "\r\n".join(lines).encode())


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def drip(head: bytes, forever: bytes) -> Mood:
    """Never silent for as long as a read's timeout, and never done."""

    def dripping(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(head)
        for _ in range(600):
            request.wfile.write(forever)
            request.wfile.flush()
            time.sleep(DEADLINE / 8)

    return dripping


MOODS: dict[str, tuple[Mood, str]] = {
    "hangs": (lambda _request: time.sleep(5), "TIMEOUT"),
    "drips its body": (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"0"), "TIMEOUT"),
    "drips its headers": (drip(b"HTTP/1.1 200 OK\r\n", b"X"), "TIMEOUT"),
    "talks rubbish": (
        lambda request: answer(request, 200, b"<html>Sign in to this network</html>"),
        "UNKNOWN_ERROR",
    ),
    "is no web server": (lambda request: request.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "REQUEST_ERROR"),
    "hangs up": (lambda _request: None, "REQUEST_ERROR"),
    "is busy": (lambda request: answer(request, 429, b""), "HTTP_ERROR"),
    "fails": (lambda request: answer(request, 500, b""), "HTTP_ERROR"),
    "sends elsewhere": (lambda request: answer(request, 302, b""), "HTTP_ERROR"),
}


class Pwned(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    mood: Mood = staticmethod(honest)

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has had enough hangs up; that is what we test."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        server.mood(self)

    def log_message(self, *args: Any) -> None:
        """Not to the test's output."""


@pytest.fixture
def pwned(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pwned]:
    server = Pwned()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    settings.HIBP_ENABLED = True
    settings.HIBP_API_URL = f"http://127.0.0.1:{server.server_port}"
    settings.HIBP_TIMEOUT_SECONDS = DEADLINE
    client = PwnedPasswordsClient()
    monkeypatch.setattr(module, "pwned_passwords", client)
    client.count("the first question of a process loads its libraries")
    API().post("register", {"email": "first@example.com", "password": "short"})
    server.seen.clear()
    yield server
    server.shutdown()
    server.server_close()
    client._pool.shutdown(wait=True)  # that it returns is part of the proof: no thread hangs for ever


def sign_up(api: API, password: str) -> tuple[int, list[str], float]:
    started = time.monotonic()
    response = api.post("register", {"email": "ada@example.com", "password": password})
    codes = [one["code"] for one in response.json().get("errors", [])]
    return response.status_code, codes, time.monotonic() - started


def reasons(superuser: psycopg.Connection) -> list[str]:
    rows = superuser.execute(
        "SELECT detail->>'reason' FROM audit_logs WHERE type = 'breach_check.failed' ORDER BY id"
    )
    return [reason for (reason,) in rows]


def test_breached_password_is_refused_and_another_is_not(api: API, pwned: Pwned) -> None:
    assert sign_up(api, BREACHED)[:2] == (400, ["password_breached"])
    assert sign_up(api, UNKNOWN)[0] == 202


def test_padding_counts_as_never_seen(api: API, pwned: Pwned) -> None:
    pwned.mood = lambda request: answer(request, 200, f"{digest(UNKNOWN)[5:]}:0".encode())
    assert sign_up(api, UNKNOWN)[0] == 202


def test_five_digits_of_the_hash_leave_the_house(api: API, pwned: Pwned) -> None:
    sign_up(api, UNKNOWN)
    ((path, headers),) = pwned.seen
    assert path == f"/range/{digest(UNKNOWN)[:5]}"
    assert headers["add-padding"] == "true"
    sent = str(pwned.seen)
    assert digest(UNKNOWN)[5:] not in sent
    assert UNKNOWN not in sent
    assert "ada" not in sent


def test_no_log_tells_how_the_hash_begins(api: API, pwned: Pwned) -> None:
    password = "an unbreached word of Ada's"
    with log_lines() as lines:
        assert sign_up(api, password)[0] == 202
    assert lines.getvalue()
    assert digest(password)[:5] not in lines.getvalue()


@pytest.mark.parametrize("mood", MOODS)
def test_sign_up_works_whatever_the_server_does(
    api: API, pwned: Pwned, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture, mood: str
) -> None:
    pwned.mood, reason = MOODS[mood]
    with caplog.at_level(logging.DEBUG):
        status, _codes, seconds = sign_up(api, BREACHED)
    assert status == 202
    assert seconds < DEADLINE + MARGIN
    assert reasons(superuser) == [reason]
    said = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert BREACHED not in said
    assert digest(BREACHED)[:5] not in said


def test_refused_connection_is_a_failure_like_others(
    api: API, pwned: Pwned, superuser: psycopg.Connection, settings: Any
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.HIBP_API_URL = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert sign_up(api, UNKNOWN)[0] == 202
    assert reasons(superuser) == ["REQUEST_ERROR"]


def test_local_rules_still_judge(api: API, pwned: Pwned) -> None:
    pwned.mood, _reason = MOODS["fails"]
    assert sign_up(api, "short")[:2] == (400, ["password_too_short"])


def test_server_that_fails_again_and_again_is_left_alone_for_a_while(
    api: API, pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwned.mood, _reason = MOODS["hangs"]
    for _ in range(5):
        assert sign_up(api, BREACHED)[0] == 202
    assert len(pwned.seen) == 3
    assert reasons(superuser) == ["TIMEOUT"] * 3 + ["LEFT_ALONE"] * 2
    assert sign_up(api, BREACHED)[2] < DEADLINE
    pwned.mood = honest
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.BREAKER_RESET_SECONDS - 1)
    assert sign_up(api, BREACHED)[0] == 202
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.BREAKER_RESET_SECONDS)
    assert sign_up(api, BREACHED)[:2] == (400, ["password_breached"])


def test_success_in_between_begins_the_count_anew(api: API, pwned: Pwned) -> None:
    for mood in (MOODS["fails"][0], MOODS["fails"][0], honest) * 2:
        pwned.mood = mood
        sign_up(api, UNKNOWN)
    assert len(pwned.seen) == 6


@pytest.mark.parametrize("mood", ["hangs", "drips its body", "drips its headers"])
def test_threads_that_ask_come_back(
    pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    """A server that keeps its connections open for ever would else have all of them, for ever."""
    monkeypatch.setattr(module, "BREAKER_THRESHOLD", 1000)
    pwned.mood, _reason = MOODS[mood]
    client = module.pwned_passwords
    for _ in range(2 * module.MAX_CONCURRENCY):
        assert client.count(UNKNOWN) is None
    assert wait_until(lambda: client._asking._value == module.MAX_CONCURRENCY, within=3)
    assert set(reasons(superuser)) == {"TIMEOUT"}
    pwned.mood = honest
    assert client.count(BREACHED) == 1234


def test_more_than_a_few_at_once_do_not_wait_in_line(
    pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.tests.support.flows import all_at_once

    monkeypatch.setattr(module, "BREAKER_THRESHOLD", 1000)
    pwned.mood, _reason = MOODS["hangs"]
    client, started = module.pwned_passwords, time.monotonic()
    assert all_at_once(12, lambda _n: client.count(UNKNOWN)) == [None] * 12
    assert time.monotonic() - started < DEADLINE + 3 * MARGIN
    assert sorted(reasons(superuser)) == ["BUSY"] * 8 + ["TIMEOUT"] * 4


def test_all_suggestions_come_at_once(api: API, pwned: Pwned) -> None:
    body = {"password": "password1", "email": "password1@example.com"}
    said = api.post("password/validate", body).json()
    assert said["is_valid"] is False
    assert len(said["suggestions"]) == 4
