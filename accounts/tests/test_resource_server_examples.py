"""The resource servers of docs/, each a real process beside the live service."""

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
from config.tests.support.live_server import Reply, Served
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "examples"
PAUSE_SECONDS = 1.0


@contextmanager
def example(name: str, **env: str) -> Iterator[Callable[[str], Reply]]:
    """Run it; yields what asks it with a token."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-W", "error", DOCS / name]
    process = subprocess.Popen(command, env=env | {"PORT": str(port), "PATH": ""})

    def ask(token: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
        finally:
            connection.close()

    def listens() -> bool:
        try:
            return ask("").status > 0
        except OSError:
            return False

    try:
        assert wait_until(listens, within=20)
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=10)


class Publisher(ThreadingHTTPServer):
    """The service's keys, by way of somebody who counts and who can be away."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.source, self.fetches, self.away = f"{url}/.well-known/jwks.json", 0, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class _Passing(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.fetches += 1
        if self.server.away:
            self.send_error(503)
            return
        with urllib.request.urlopen(self.server.source, timeout=5) as answer:
            body = answer.read()
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
    return Served(port, None, None).call  # type: ignore[arg-type]


@pytest.fixture
def key(service: str) -> str:
    with using_alias(OPERATOR):
        return str(create_api_key("the shop"))


@pytest.fixture
def verifier(service: str) -> Iterator[tuple[Callable[[str], Reply], Publisher]]:
    with ExitStack() as running:
        publisher = running.enter_context(Publisher(service))
        env = {"ACCOUNTS": service, "KEYS_URL": publisher.url, "PAUSE_SECONDS": str(PAUSE_SECONDS)}
        yield running.enter_context(example("verify_by_keys.py", **env)), publisher


def log_in(call: Any, person: Person) -> Any:
    answer = call("POST", "login", {"email": person.email, "password": PASSWORD})
    assert answer.status == 200, answer
    return answer.json()


def no_good(call: Any, person: Person, pair: Any) -> dict[str, str]:
    access = pair["access"]
    header, claims = unpack(access)
    visit = call("POST", "/api/v1/end-users/sessions", {"creator": str(person.id)}).json()
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
        "visitor's session": visit["session"],
    }


def assert_refuses(ask: Callable[[str], Reply], tokens: dict[str, str]) -> None:
    for why, token in tokens.items():
        answer = ask(token)
        assert (answer.status, answer.json()) == (401, {"code": "invalid_token"}), why
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"', why


def test_verifier_lets_the_creator_in_and_no_other_token(verifier: Any, call: Any, ada: Person) -> None:
    ask, _ = verifier
    pair = log_in(call, ada)
    assert ask(pair["access"]).json() == {"creator": str(ada.id)}
    assert_refuses(ask, no_good(call, ada, pair))
    assert call("POST", "logout/all", token=pair["access"]).status == 204
    assert ask(pair["access"]).status == 200  # as it says: until `exp` it can't know


def test_verifier_survives_a_rotation(
    verifier: Any, call: Any, ada: Person, superuser: psycopg.Connection
) -> None:
    ask, _ = verifier
    old = log_in(call, ada)["access"]
    assert ask(old).status == 200
    with using_alias(OPERATOR):
        kid = signing_keys.rotate_signing_key()
    superuser.execute(
        "UPDATE signing_keys SET activates_at = now() WHERE kid = %s", [kid]
    )  # by hand, at once
    news: list[str] = []

    def signs() -> bool:
        news.append(log_in(call, ada)["access"])
        return bool(unpack(news[-1])[0]["kid"] == kid)

    try:
        assert wait_until(signs, within=10)
        assert wait_until(lambda: ask(news[-1]).status == 200, within=10)
        assert ask(old).status == 200
    finally:
        superuser.execute("UPDATE signing_keys SET expires_at = NULL WHERE kid <> %s", [kid])
        superuser.execute("DELETE FROM signing_keys WHERE kid = %s", [kid])


def test_verifier_is_not_driven_to_fetch_by_unknown_keys(verifier: Any, call: Any, ada: Person) -> None:
    ask, publisher = verifier
    access = log_in(call, ada)["access"]
    header, claims = unpack(access)
    began = time.monotonic()
    for number in range(100):
        assert ask(signed(header | {"kid": f"made up {number}"}, claims, FOREIGN)).status == 401
    assert publisher.fetches <= 1 + (time.monotonic() - began) / PAUSE_SECONDS
    before = publisher.fetches
    assert [ask(access).status for _ in range(20)] == [200] * 20
    assert publisher.fetches == before


def test_verifier_needs_no_answer_once_it_has_the_keys(verifier: Any, call: Any, ada: Person) -> None:
    ask, publisher = verifier
    access = log_in(call, ada)["access"]
    publisher.away = True
    answer = ask(access)
    assert (answer.status, answer.json()) == (503, {"code": "unavailable"})
    assert int(answer.headers["retry-after"]) >= 1
    publisher.away = False
    assert wait_until(lambda: ask(access).status == 200, within=10)
    publisher.away = True
    time.sleep(PAUSE_SECONDS)
    unknown = signed(unpack(access)[0] | {"kid": "unknown"}, unpack(access)[1])
    assert [ask(unknown).status, ask(access).status] == [401, 200]


def test_introspecting_server_notices_an_ended_session_at_once(
    service: str, call: Any, key: str, ada: Person
) -> None:
    with example("introspect.py", ACCOUNTS=service, API_KEY=key) as ask:
        pair = log_in(call, ada)
        assert ask(pair["access"]).json() == {"creator": str(ada.id)}
        assert_refuses(ask, no_good(call, ada, pair))
        assert ask(pair["access"]).status == 200
        assert call("POST", "logout", {"refresh": pair["refresh"]}).status == 204
        assert_refuses(ask, {"ended": pair["access"]})


def test_introspecting_server_judges_nobody_when_its_own_key_is_refused(
    service: str, call: Any, key: str, ada: Person
) -> None:
    with example("introspect.py", ACCOUNTS=service, API_KEY=key) as ask:
        access = log_in(call, ada)["access"]
        assert ask(access).status == 200
        with using_alias(OPERATOR):
            revoke_api_key("the shop")
        answer = ask(access)
        assert (answer.status, answer.json()) == (503, {"code": "unavailable"})
        assert int(answer.headers["retry-after"]) >= 1
