"""HaveIBeenPwned, working and failing: it delays no sign-up, prevents none by failing, and receives no password."""

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
from accounts.tests.support.flows import all_at_once, log_lines
from config.launcher.process import wait_until
from config.tests.support.client import API

BREACHED = "a breached lovely sentence"
UNKNOWN = "an unheard of lovely sentence"
DEADLINE = 0.4
MARGIN = 0.4  # seconds, for the rest of a request on a busy machine
Behaviour = Callable[[BaseHTTPRequestHandler], object]


def digest(password: str) -> str:
    return hashlib.sha1(password.encode()).hexdigest().upper()


def respond_correctly(request: BaseHTTPRequestHandler) -> None:
    prefix = request.path.rpartition("/")[2]
    lines = [f"{digest(BREACHED)[5:]}:1,234"] if digest(BREACHED).startswith(prefix) else []
    lines += ["0018A45C4D1DEF81644B54AB7F969B88D65:0", "00D4F6E8FA6EECAD2A3AA415EEC418D38EC:0"]
    respond(request, 200, "\r\n".join(lines).encode())


def respond(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def send_slowly(head: bytes, rest: bytes) -> Behaviour:
    """Sends a byte before each read can time out, and never ends."""

    def send(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(head)
        for _ in range(600):
            request.wfile.write(rest)
            request.wfile.flush()
            time.sleep(DEADLINE / 8)

    return send


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "hangs": (lambda _request: time.sleep(5), "TIMEOUT"),
    "sends its body byte by byte": (
        send_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"0"),
        "TIMEOUT",
    ),
    "sends its headers byte by byte": (send_slowly(b"HTTP/1.1 200 OK\r\n", b"X"), "TIMEOUT"),
    "sends garbage": (
        lambda request: respond(request, 200, b"<html>Sign in to this network</html>"),
        "UNKNOWN_ERROR",
    ),
    "is no web server": (lambda request: request.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "REQUEST_ERROR"),
    "closes the connection": (lambda _request: None, "REQUEST_ERROR"),
    "is busy": (lambda request: respond(request, 429, b""), "HTTP_ERROR"),
    "fails": (lambda request: respond(request, 500, b""), "HTTP_ERROR"),
    "redirects": (lambda request: respond(request, 302, b""), "HTTP_ERROR"),
}


class Pwned(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    behaviour: Behaviour = staticmethod(respond_correctly)

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients close the connection at their deadline."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        server.behaviour(self)

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
    client.count("the first query of a process loads its libraries")
    API().post("register", {"email": "first@example.com", "password": "short"})
    server.seen.clear()
    yield server
    server.shutdown()
    server.server_close()
    client._pool.shutdown(wait=True)  # returns only if no thread hangs


def sign_up(api: API, password: str) -> tuple[int, list[str], float]:
    started = time.monotonic()
    response = api.post("register", {"email": "ada@example.com", "password": password})
    codes = [error["code"] for error in response.json().get("errors", [])]
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
    pwned.behaviour = lambda request: respond(request, 200, f"{digest(UNKNOWN)[5:]}:0".encode())
    assert sign_up(api, UNKNOWN)[0] == 202


def test_only_five_digits_of_the_hash_are_sent(api: API, pwned: Pwned) -> None:
    sign_up(api, UNKNOWN)
    ((path, headers),) = pwned.seen
    assert path == f"/range/{digest(UNKNOWN)[:5]}"
    assert headers["add-padding"] == "true"
    sent = str(pwned.seen)
    assert digest(UNKNOWN)[5:] not in sent
    assert UNKNOWN not in sent
    assert "ada" not in sent


def test_no_log_has_the_prefix_of_the_hash(api: API, pwned: Pwned) -> None:
    password = "an unbreached word of Ada's"
    with log_lines() as lines:
        assert sign_up(api, password)[0] == 202
    assert lines.getvalue()
    assert digest(password)[:5] not in lines.getvalue()


@pytest.mark.parametrize("failure", FAILURES)
def test_sign_up_works_if_the_server_fails(
    api: API, pwned: Pwned, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    pwned.behaviour, reason = FAILURES[failure]
    with caplog.at_level(logging.DEBUG):
        status, _codes, seconds = sign_up(api, BREACHED)
    assert status == 202
    assert seconds < DEADLINE + MARGIN
    assert reasons(superuser) == [reason]
    logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert BREACHED not in logged
    assert digest(BREACHED)[:5] not in logged


def test_sign_up_works_if_the_connection_is_refused(
    api: API, pwned: Pwned, superuser: psycopg.Connection, settings: Any
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.HIBP_API_URL = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert sign_up(api, UNKNOWN)[0] == 202
    assert reasons(superuser) == ["REQUEST_ERROR"]


def test_local_rules_apply_if_the_server_fails(api: API, pwned: Pwned) -> None:
    pwned.behaviour, _reason = FAILURES["fails"]
    assert sign_up(api, "short")[:2] == (400, ["password_too_short"])


def test_circuit_opens_after_three_failures(
    api: API, pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwned.behaviour, _reason = FAILURES["hangs"]
    for _ in range(5):
        assert sign_up(api, BREACHED)[0] == 202
    assert len(pwned.seen) == 3
    assert reasons(superuser) == ["TIMEOUT"] * 3 + ["CIRCUIT_OPEN"] * 2
    assert sign_up(api, BREACHED)[2] < DEADLINE
    pwned.behaviour = respond_correctly
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.BREAKER_RESET_SECONDS - 1)
    assert sign_up(api, BREACHED)[0] == 202
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.BREAKER_RESET_SECONDS)
    assert sign_up(api, BREACHED)[:2] == (400, ["password_breached"])


def test_success_resets_the_count_of_failures(api: API, pwned: Pwned) -> None:
    for behaviour in (FAILURES["fails"][0], FAILURES["fails"][0], respond_correctly) * 2:
        pwned.behaviour = behaviour
        sign_up(api, UNKNOWN)
    assert len(pwned.seen) == 6


@pytest.mark.parametrize(
    "failure", ["hangs", "sends its body byte by byte", "sends its headers byte by byte"]
)
def test_threads_and_slots_are_released(
    pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """Even if the server never closes a connection."""
    monkeypatch.setattr(module, "BREAKER_THRESHOLD", 1000)
    pwned.behaviour, _reason = FAILURES[failure]
    client = module.pwned_passwords
    for _ in range(2 * module.MAX_CONCURRENCY):
        assert client.count(UNKNOWN) is None
    assert "TIMEOUT" in reasons(superuser)
    pwned.behaviour = respond_correctly
    slots = module.MAX_CONCURRENCY
    assert wait_until(
        lambda: all_at_once(slots, lambda _n: client.count(BREACHED)) == [1234] * slots, within=3
    )


def test_queries_without_a_free_slot_do_not_wait(
    pwned: Pwned, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BREAKER_THRESHOLD", 1000)
    pwned.behaviour, _reason = FAILURES["hangs"]
    client, started = module.pwned_passwords, time.monotonic()
    assert all_at_once(12, lambda _n: client.count(UNKNOWN)) == [None] * 12
    assert time.monotonic() - started < DEADLINE + 3 * MARGIN
    assert sorted(reasons(superuser)) == ["BUSY"] * 8 + ["TIMEOUT"] * 4


def test_breach_is_one_of_all_suggestions(api: API, pwned: Pwned) -> None:
    body = {"password": "password1", "email": "password1@example.com"}
    result = api.post("password/validate", body).json()
    assert result["is_valid"] is False
    assert len(result["suggestions"]) == 4
