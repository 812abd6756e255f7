"""How the server handles raw requests: malformed headers, incomplete bodies, slow clients."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.launcher.process import wait_until
from config.tests.support.live_server import NO_LIMITS, STANDARD_LIMITS, LiveServer, Reply, run_server

pytestmark = pytest.mark.slow
THREADS = 6
HEAD = (
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
MALFORMED = (
    b"x/y; charset=hex",
    b"x/y; a*=bogus''b",
    b"x/y; charset=idna",
    b"multipart/form-data; charset=zlib",
)


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with run_server(
        tmp_path_factory.mktemp("served"),
        workers=1,
        PUBLIC_URL="https://localhost",
        LOG_LEVEL="INFO",
        WORKER_THREADS=str(THREADS),
        METRICS_FROM_LOOPBACK="true",
        HTTP_PROXY="http://127.0.0.1:9",  # must not become a request header
        **NO_LIMITS | {"RATE_LIMIT_REFRESH": "3/m"},
    ) as service:
        yield service


def log_lines(served: LiveServer) -> list[dict[str, object]]:
    """The log; each line is a JSON object."""
    return [json.loads(line) for line in served.log.read_text().splitlines()]


def assert_refused(reply: Reply, status: int = 400) -> None:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json"), reply
    assert reply.json()["request_id"] == reply.headers["x-request-id"] != ""


@pytest.mark.parametrize(
    "path", [b"/healthz?a", b"/healthz", b"/metrics?a", b"/api/v1/auth/me?a", b"/api/schema?a"]
)
@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_content_type_gets_a_problem_response(served: LiveServer, path: bytes, kind: bytes) -> None:
    refused = served.send(b"GET " + path, b"Content-Type: " + kind)
    assert_refused(refused)
    (line,) = [line for line in log_lines(served) if line["request_id"] == refused.headers["x-request-id"]]
    assert (line["message"], line["status"]) == ("request", 400)


def test_malformed_content_type_gets_a_page_outside_the_api(served: LiveServer) -> None:
    for path in (b"/account/password-reset/?a", b"/admin/login/?a"):
        refused = served.send(b"POST " + path, b"Content-Type: " + MALFORMED[0])
        assert (refused.status, refused.headers["content-type"]) == (400, "text/html; charset=utf-8")
        assert refused.headers["x-request-id"]
        assert "default-src 'none'" in refused.headers["content-security-policy"]
    for path in (b"/nowhere?a", b"/%ff", b"/%c3%a9"):
        assert_refused(served.send(b"GET " + path, b"Content-Type: " + MALFORMED[1]), 404)


def test_malformed_requests_count_for_the_rate_limit(served: LiveServer) -> None:
    for _ in range(3):
        assert_refused(served.send(b"POST /api/v1/auth/refresh", b"Content-Type: x/y; a*=bogus''b"))
    limited = served.send(b"POST /api/v1/auth/refresh", b"Content-Type: x/y; a*=bogus''b")
    assert (limited.status, limited.code) == (429, "rate_limited")
    metrics = served.call("GET", "/metrics").body.decode()
    assert 'auth_requests_total{method="POST",route="/api/v1/auth/refresh",status="400"} 3.0' in metrics


@pytest.mark.parametrize(
    "lines",
    [
        (b"X-Forwarded-Proto: http", b"X_Forwarded_Proto: https"),
        (b"X_Forwarded_Proto: https", b"X-Forwarded-Proto: http"),
        (b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"),
        (b"X_Forwarded_Proto: https",),
    ],
)
def test_client_cannot_claim_https(served: LiveServer, lines: tuple[bytes, ...]) -> None:
    assert "strict-transport-security" not in served.send(b"GET /healthz", *lines).headers
    proxied = served.send(b"GET /healthz", b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https")
    assert "strict-transport-security" in proxied.headers


def test_half_sent_bodies_hold_no_thread(served: LiveServer) -> None:
    with ExitStack() as clients:
        for _ in range(2 * THREADS):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", served.port), 10))
            client.sendall(HEAD.replace(b"login", b"password/reset") % 100 + b"{")
        for _ in range(5):
            assert served.call("GET", "/healthz").status == 200


def test_body_in_many_pieces_arrives_whole(served: LiveServer) -> None:
    body = json.dumps({"email": "ada@example.com", "password": "x" * 60_000}).encode()

    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % len(body))
        for start in range(0, len(body), 500):
            client.sendall(body[start : start + 500])
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, json.loads(response.read())["code"]) == (401, "invalid_credentials")


def test_incomplete_body_is_not_processed(served: LiveServer) -> None:
    """The received part is valid JSON, but shorter than its Content-Length."""
    body = json.dumps({"email": "ada@example.com", "password": "wrong"}).encode()

    def login_count() -> int:
        return sum(line.get("route") == "api/v1/auth/login" for line in log_lines(served))

    before = login_count()
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % (len(body) + 10) + body)
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(HEAD % (len(body) + 10) + body)
        client.shutdown(socket.SHUT_WR)
        client.recv(1024)
    assert served.call("GET", "/healthz").status == 200
    assert login_count() == before


def test_http_1_0_needs_no_host(served: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(1024).partition(b"\r\n")[0]


def test_environment_of_the_process_adds_no_header(served: LiveServer) -> None:
    assert served.call("GET", "/metrics").status == 200  # with an additional header it would need an API key


def test_endless_response_waits_for_its_client(tmp_path: Path) -> None:
    chunks = tmp_path / "chunks"
    with (
        run_server(
            tmp_path,
            workers=1,
            application="config.tests.support.wsgi_applications:endless",
            CHUNKS=str(chunks),
            **STANDARD_LIMITS,
        ) as served,
        socket.create_connection(("127.0.0.1", served.port), 10) as client,
    ):
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(1)
        sent = chunks.stat().st_size
        assert sent < 1000  # chunks of 16 KiB that fit into the buffers of pipe and sockets
        for _ in range(2000):
            client.recv(2**16)
        assert wait_until(lambda: chunks.stat().st_size > sent, within=10)
        client.close()
        assert wait_until(chunks.with_suffix(".closed").exists, within=10)


def test_error_outside_of_django_is_a_problem_response(tmp_path: Path) -> None:
    with run_server(
        tmp_path, workers=1, application="config.tests.support.wsgi_applications:failing"
    ) as served:
        failed = served.send(b"GET /failing")
        assert_refused(failed, 500)
        assert served.call("GET", "/healthz").status == 200
        (line,) = log_lines(served)
    assert line["failed_request_id"] == failed.json()["request_id"]
    assert "ZeroDivisionError" in str(line["exc_info"])
