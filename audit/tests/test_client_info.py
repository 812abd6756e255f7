"""The client's address comes from trusted proxies only, and is normalized."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ua_parser
from django.test import RequestFactory

from audit.requests.client_info import USER_AGENT_LENGTH, ClientInfo, client_info
from audit.requests.user_agents import describe_device

pytestmark = pytest.mark.no_database

PEER = "198.51.100.1"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, PEER),
        (0, "203.0.113.9", PEER),  # no proxy is trusted
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.66, 203.0.113.9", "203.0.113.9"),  # the client sent the first one
        (1, "192.0.2.66,203.0.113.9", "203.0.113.9"),
        (2, "192.0.2.66, 203.0.113.9, 198.51.100.2", "203.0.113.9"),
        (2, "203.0.113.9, 198.51.100.2", "203.0.113.9"),
        (2, "203.0.113.9", PEER),  # fewer hops than proxies: the request bypassed one
        (1, None, PEER),
        (1, "", PEER),
        (1, "rubbish", PEER),
        (1, "203.0.113.9, ", PEER),
        (1, "203.0.113.9:443", PEER),
        (1, "999.0.0.1", PEER),
        (1, "2001:DB8:0:0::00A1", "2001:db8::a1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "::FFFF:CB00:7109", "203.0.113.9"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "FE80:0::0001%<script>", "fe80::1"),
    ],
)
def test_address_is_the_peer_of_the_outermost_proxy(
    settings: Any, proxies: int, forwarded: str | None, address: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=PEER)
    assert client_info(request).ip_address == address


@pytest.mark.parametrize(
    ("peer", "address"),
    [("", None), ("unix:", None), ("::ffff:203.0.113.9", "203.0.113.9"), ("2001:DB8::1", "2001:db8::1")],
)
def test_peer_is_normalized(peer: str, address: str | None) -> None:
    assert client_info(RequestFactory().get("/", REMOTE_ADDR=peer)).ip_address == address


def test_user_agent_is_short_and_printable() -> None:
    request = RequestFactory().get("/", headers={"User-Agent": "a\x00b\r\nc\x1b[31m" + "x" * 2000})
    assert client_info(request).user_agent.startswith("abc[31mxxx")
    assert len(client_info(request).user_agent) <= USER_AGENT_LENGTH


def test_user_agents_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent first calls would each load the patterns, which takes seconds."""
    running: list[int] = []
    concurrency = []

    def parse(agent: str) -> Any:
        running.append(1)
        concurrency.append(len(running))
        threading.Event().wait(0.01)
        running.pop()
        return original(agent)

    original = ua_parser.parse
    monkeypatch.setattr(ua_parser, "parse", parse)
    with ThreadPoolExecutor(8) as pool:
        devices = set(pool.map(lambda _: describe_device(ClientInfo(user_agent="curl/8")), range(8)))
    assert (set(concurrency), len(devices)) == ({1}, 1)
