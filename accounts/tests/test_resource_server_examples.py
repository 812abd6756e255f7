"""The example resource servers of docs/, each as a process beside the live service."""

import http.client
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from accounts.services import signing_keys
from accounts.services.api_keys import create_api_key, revoke_api_key
from accounts.tests.support.forged_tokens import (
    FOREIGN,
    by_our_key,
    claims_with,
    claims_without,
    foreign_jwk,
    hs256,
    public_pem,
    signed,
    unpack,
)
from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD, Person
from config.tests.support.external_servers import free_port
from config.tests.support.launched_service import launched_service
from config.tests.support.live_server import LiveServer, Reply
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "examples"
PAUSE_SECONDS = 1.0


@contextmanager
def example(name: str, **env: str) -> Iterator[Callable[[str], Reply]]:
    """Run it; yields a function that sends it a token."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-W", "error", DOCS / name]
    process = subprocess.Popen(command, env=env | {"PORT": str(port), "PATH": ""})

    def send(token: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"} if token else {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), {k.lower(): v for k, v in reply.getheaders()})
        finally:
            connection.close()

    def is_listening() -> bool:
        try:
            return send("").status > 0
        except OSError:
            return False

    try:
        assert wait_until(is_listening, within=20)
        yield send
    finally:
        process.terminate()
        process.wait(timeout=10)


class KeyProxy(ThreadingHTTPServer):
    """Passes on the service's JWKS, counts the requests, and can be unavailable."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _KeyProxyHandler)
        self.source, self.fetches, self.is_unavailable = f"{url}/.well-known/jwks.json", 0, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class _KeyProxyHandler(BaseHTTPRequestHandler):
    server: KeyProxy

    def do_GET(self) -> None:
        self.server.fetches += 1
        if self.server.is_unavailable:
            self.send_error(503)
            return
        with urllib.request.urlopen(self.server.source, timeout=5) as response:
            body = response.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(ada: Person, tmp_path: Path) -> Iterator[str]:
    with launched_service(tmp_path) as url:
        yield url


@pytest.fixture
def call(service: str) -> Callable[..., Any]:
    port = int(service.rpartition(":")[2])
    return LiveServer(port, None, None).call  # type: ignore[arg-type]


@pytest.fixture
def key(service: str) -> str:
    with using_alias(OPERATOR):
        return str(create_api_key("the shop"))


@pytest.fixture
def verifier(service: str) -> Iterator[tuple[Callable[[str], Reply], KeyProxy]]:
    with ExitStack() as running:
        proxy = running.enter_context(KeyProxy(service))
        env = {"ACCOUNTS": service, "KEYS_URL": proxy.url, "PAUSE_SECONDS": str(PAUSE_SECONDS)}
        yield running.enter_context(example("verify_by_keys.py", **env)), proxy


def log_in(call: Any, person: Person) -> Any:
    reply = call("POST", "login", {"email": person.email, "password": PASSWORD})
    assert reply.status == 200, reply
    return reply.json()


def invalid_tokens(call: Any, person: Person, pair: Any) -> dict[str, str]:
    access = pair["access"]
    header, claims = unpack(access)
    end_user = call("POST", "/api/v1/end-users/sessions", {"creator": str(person.id)}).json()
    return {
        "none": "",
        "rubbish": "rubbish",
        "expired": claims_with(exp=int(time.time()) - 60)(access),
        "of the future": claims_with(iat=int(time.time()) + 600)(access),
        "foreign key": signed(header, claims, FOREIGN),
        "foreign key in its header": signed(header | {"jwk": foreign_jwk()}, claims, FOREIGN),
        "unknown kid": signed(header | {"kid": "unknown"}, claims),
        "tampered": ".".join([*access.split(".")[:2], signed(header, claims | {"sub": "x"}).split(".")[2]]),
        "another algorithm": by_our_key(access, "RS512"),
        "public key as secret": hs256(header, claims, public_pem()),
        "foreign issuer": claims_with(iss="https://elsewhere.example")(access),
        "foreign audience": claims_with(aud="https://elsewhere.example")(access),
        "several audiences": claims_with(aud=[claims["aud"], "https://elsewhere.example"])(access),
        "without a type": claims_without("token_type")(access),
        "refresh": pair["refresh"],
        "end user's session": end_user["session"],
    }


def assert_refuses(send: Callable[[str], Reply], tokens: dict[str, str]) -> None:
    for case, token in tokens.items():
        reply = send(token)
        assert (reply.status, reply.json()) == (401, {"code": "invalid_token"}), case
        assert reply.headers["www-authenticate"] == 'Bearer error="invalid_token"', case


def test_verifier_accepts_only_the_access_token(verifier: Any, call: Any, ada: Person) -> None:
    send, _ = verifier
    pair = log_in(call, ada)
    assert send(pair["access"]).json() == {"creator": str(ada.id)}
    assert_refuses(send, invalid_tokens(call, ada, pair))
    assert call("POST", "logout/all", token=pair["access"]).status == 204
    assert send(pair["access"]).status == 200  # documented: it accepts the token until `exp`


def test_verifier_accepts_a_rotated_key(
    verifier: Any, call: Any, ada: Person, superuser: psycopg.Connection
) -> None:
    send, _ = verifier
    old = log_in(call, ada)["access"]
    assert send(old).status == 200
    with using_alias(OPERATOR):
        kid = signing_keys.rotate_signing_key()
    superuser.execute("UPDATE signing_keys SET activates_at = now() WHERE kid = %s", [kid])
    new_tokens: list[str] = []

    def new_key_signs() -> bool:
        new_tokens.append(log_in(call, ada)["access"])
        return bool(unpack(new_tokens[-1])[0]["kid"] == kid)

    try:
        assert wait_until(new_key_signs, within=10)
        assert wait_until(lambda: send(new_tokens[-1]).status == 200, within=10)
        assert send(old).status == 200
    finally:
        superuser.execute("UPDATE signing_keys SET expires_at = NULL WHERE kid <> %s", [kid])
        superuser.execute("DELETE FROM signing_keys WHERE kid = %s", [kid])


def test_unknown_keys_do_not_cause_a_fetch_each(verifier: Any, call: Any, ada: Person) -> None:
    send, proxy = verifier
    access = log_in(call, ada)["access"]
    header, claims = unpack(access)
    started = time.monotonic()
    for number in range(100):
        assert send(signed(header | {"kid": f"unknown {number}"}, claims, FOREIGN)).status == 401
    assert proxy.fetches <= 1 + (time.monotonic() - started) / PAUSE_SECONDS
    before = proxy.fetches
    assert [send(access).status for _ in range(20)] == [200] * 20
    assert proxy.fetches == before


def test_verifier_works_without_the_service_once_it_has_the_keys(
    verifier: Any, call: Any, ada: Person
) -> None:
    send, proxy = verifier
    access = log_in(call, ada)["access"]
    proxy.is_unavailable = True
    reply = send(access)
    assert (reply.status, reply.json()) == (503, {"code": "unavailable"})
    assert int(reply.headers["retry-after"]) >= 1
    proxy.is_unavailable = False
    assert wait_until(lambda: send(access).status == 200, within=10)
    proxy.is_unavailable = True
    time.sleep(PAUSE_SECONDS)
    unknown = signed(unpack(access)[0] | {"kid": "unknown"}, unpack(access)[1])
    assert [send(unknown).status, send(access).status] == [401, 200]


def test_introspecting_server_refuses_an_ended_session_at_once(
    service: str, call: Any, key: str, ada: Person
) -> None:
    with example("introspect.py", ACCOUNTS=service, API_KEY=key) as send:
        pair = log_in(call, ada)
        assert send(pair["access"]).json() == {"creator": str(ada.id)}
        assert_refuses(send, invalid_tokens(call, ada, pair))
        assert send(pair["access"]).status == 200
        assert call("POST", "logout", {"refresh": pair["refresh"]}).status == 204
        assert_refuses(send, {"ended": pair["access"]})


def test_introspecting_server_is_unavailable_if_its_key_is_refused(
    service: str, call: Any, key: str, ada: Person
) -> None:
    with example("introspect.py", ACCOUNTS=service, API_KEY=key) as send:
        access = log_in(call, ada)["access"]
        assert send(access).status == 200
        with using_alias(OPERATOR):
            revoke_api_key("the shop")
        reply = send(access)
        assert (reply.status, reply.json()) == (503, {"code": "unavailable"})
        assert int(reply.headers["retry-after"]) >= 1
