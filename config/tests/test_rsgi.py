"""What the server makes of requests as they come over the wire."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.launcher.process import wait_until
from config.tests.support.live_server import NO_LIMITS, STANDARD_LIMITS, Reply, Served, serving

pytestmark = pytest.mark.slow
THREADS = 6
HEAD = (
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
UNREADABLE = (
    b"x/y; charset=hex",
    b"x/y; a*=bogus''b",
    b"x/y; charset=idna",
    b"multipart/form-data; charset=zlib",
)


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        tmp_path_factory.mktemp("served"),
        workers=1,
        PUBLIC_URL="https://localhost",
        LOG_LEVEL="INFO",
        WORKER_THREADS=str(THREADS),
        METRICS_FROM_LOOPBACK="true",
        HTTP_PROXY="http://127.0.0.1:9",  # of the machine, and no header of a request
        **NO_LIMITS | {"RATE_LIMIT_REFRESH": "3/m"},
    ) as service:
        yield service


def lines_of(served: Served) -> list[dict[str, object]]:
    """The log, each line of which is JSON."""
    return [json.loads(line) for line in served.log.read_text().splitlines()]


def assert_refused(reply: Reply, status: int = 400) -> None:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json"), reply
    assert reply.json()["request_id"] == reply.headers["x-request-id"] != ""


@pytest.mark.parametrize(
    "path", [b"/healthz?a", b"/healthz", b"/metrics?a", b"/api/v1/auth/me?a", b"/api/schema?a"]
)
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_content_type_is_a_refusal_like_others(served: Served, path: bytes, kind: bytes) -> None:
    refused = served.send(b"GET " + path, b"Content-Type: " + kind)
    assert_refused(refused)
    (line,) = [one for one in lines_of(served) if one["request_id"] == refused.headers["x-request-id"]]
    assert (line["message"], line["status"]) == ("request", 400)


def test_unreadable_content_type_is_refused_with_a_page_to_people(served: Served) -> None:
    for path in (b"/account/password-reset/?a", b"/admin/login/?a"):
        refused = served.send(b"POST " + path, b"Content-Type: " + UNREADABLE[0])
        assert (refused.status, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")
        assert refused.headers["x-request-id"]
        assert "default-src 'none'" in refused.headers["content-security-policy"]
    for path in (b"/nowhere?a", b"/%ff", b"/%c3%a9"):
        assert_refused(served.send(b"GET " + path, b"Content-Type: " + UNREADABLE[1]), 404)


def test_unreadable_requests_are_counted(served: Served) -> None:
    for _ in range(3):
        assert_refused(served.send(b"POST /api/v1/auth/refresh", b"Content-Type: x/y; a*=bogus''b"))
    limited = served.send(b"POST /api/v1/auth/refresh", b"Content-Type: x/y; a*=bogus''b")
    assert (limited.status, limited.code) == (429, "rate_limited")
    numbers = served.call("GET", "/metrics").body.decode()
    assert 'auth_requests_total{method="POST",route="/api/v1/auth/refresh",status="400"} 3.0' in numbers


@pytest.mark.parametrize(
    "lines",
    [
        (b"X-Forwarded-Proto: http", b"X_Forwarded_Proto: https"),
        (b"X_Forwarded_Proto: https", b"X-Forwarded-Proto: http"),
        (b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"),
        (b"X_Forwarded_Proto: https",),
    ],
)
def test_client_can_not_say_that_it_came_by_https(served: Served, lines: tuple[bytes, ...]) -> None:
    assert "strict-transport-security" not in served.send(b"GET /healthz", *lines).headers
    honest = served.send(b"GET /healthz", b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https")
    assert "strict-transport-security" in honest.headers


def test_half_sent_bodies_hold_no_thread(served: Served) -> None:
    """Twice as many as there are threads."""
    with ExitStack() as clients:
        for _ in range(2 * THREADS):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", served.port), 10))
            client.sendall(HEAD.replace(b"login", b"password/reset") % 100 + b"{")
        for _ in range(5):
            assert served.call("GET", "/healthz").status == 200


def test_body_in_many_pieces_arrives_whole(served: Served) -> None:
    body = json.dumps({"email": "ada@example.com", "password": "x" * 60_000}).encode()

    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % len(body))
        for start in range(0, len(body), 500):
            client.sendall(body[start : start + 500])
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (401, "invalid_credentials")


def test_body_that_breaks_off_is_not_acted_upon(served: Served) -> None:
    """What came reads as a whole: of a form, the last fields would be missing."""
    body = json.dumps({"email": "ada@example.com", "password": "wrong"}).encode()

    def sign_ins() -> int:
        return sum(line.get("route") == "api/v1/auth/login" for line in lines_of(served))

    before = sign_ins()
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % (len(body) + 10) + body)
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % (len(body) + 10) + body)
        client.shutdown(socket.SHUT_WR)
        client.recv(1024)
    assert served.call("GET", "/healthz").status == 200
    assert sign_ins() == before


def test_http_1_0_needs_no_host(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(1024).partition(b"\r\n")[0]


def test_environment_of_the_process_is_no_header(served: Served) -> None:
    assert served.call("GET", "/metrics").status == 200  # one header more, and it would want a key


def test_answer_without_end_waits_for_its_client(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    with (
        serving(
            tmp_path,
            workers=1,
            application="config.tests.support.null_application:export",
            TAKEN=str(taken),
            **STANDARD_LIMITS,
        ) as served,
        socket.create_connection(("127.0.0.1", served.port), 10) as client,
    ):
        client.sendall(b"GET /export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(1)
        held = taken.stat().st_size
        assert held < 1000  # pieces of 16 KiB, in the buffers of pipe and sockets
        for _ in range(2000):
            client.recv(2**16)
        assert wait_until(lambda: taken.stat().st_size > held, within=10)
        client.close()
        assert wait_until(taken.with_suffix(".closed").exists, within=10)


def test_what_fails_around_the_application_is_a_problem_too(tmp_path: Path) -> None:
    with serving(tmp_path, workers=1, application="config.tests.support.null_application:broken") as served:
        failed = served.send(b"GET /broken")
        assert_refused(failed, 500)
        assert served.call("GET", "/healthz").status == 200
        (line,) = lines_of(served)
    assert line["failed_request_id"] == failed.json()["request_id"]
    assert "ZeroDivisionError" in str(line["exc_info"])
