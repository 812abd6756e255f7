"""Measures throughput and latency with one process and one event loop, to leave the cores to the service.

A scenario is a generator for one connection: it yields requests and receives the response to each.
"""

import itertools
import json
import math
import re
import selectors
import socket
import statistics
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

Scenario = Generator[bytes, bytes, None]
WARMUP_SECONDS = 0.5  # not measured
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
REFRESH = re.compile(rb'"refresh": ?"([^"]+)"')


def request(method: str, path: str, body: Any = None, *, token: str = "") -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} /api/v1/auth/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
    head += "Content-Type: application/json\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
    return head.encode() + b"\r\n" + data


def sending(requests: Iterable[bytes], status: int = 200) -> Scenario:
    for data in requests:
        response = yield data
        assert response.startswith(b"HTTP/1.1 %d " % status), response


def refreshing(refresh_tokens: Iterable[str]) -> Scenario:
    """Use the tokens in turn; each is replaced by its successor."""
    tokens = deque(refresh_tokens)
    while True:
        response = yield request("POST", "refresh", {"refresh": tokens.popleft()})
        successor = REFRESH.search(response)
        assert successor, response
        tokens.append(successor[1].decode())


def is_complete(response: bytes) -> bool:
    head, _, body = response.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")  # the last chunk


@dataclass(frozen=True)
class Measurement:
    """Responses per second, and the 50th and 99th percentile of their times in milliseconds."""

    per_second: float
    p50: float = math.nan
    p99: float = math.nan


@dataclass
class Connection:
    """A persistent connection that sends the next request after each response."""

    port: int
    scenario: Scenario
    milliseconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next = next(self.scenario)

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.next)

    def receive(self, start: float, end: float) -> None:
        """Receive a response; it counts if it arrives between `start` and `end`."""
        response = self.socket.recv(65536)
        while not is_complete(response):
            more = self.socket.recv(65536)
            assert more, response
            response += more
        now = time.perf_counter()
        if start <= now < end:
            self.milliseconds.append((now - self.sent_at) * 1000)
        self.next = self.scenario.send(response)


def measure(port: int, *groups: Sequence[Scenario], seconds: float) -> list[Measurement]:
    """Run all scenarios of all groups at the same time; one measurement for each group."""
    with ExitStack() as opened, selectors.DefaultSelector() as ready:
        connections = [[Connection(port, scenario) for scenario in group] for group in groups]
        start = time.perf_counter() + WARMUP_SECONDS
        for connection in itertools.chain.from_iterable(connections):
            opened.enter_context(connection.socket)
            ready.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        while ready.get_map():
            for key, _ in ready.select():
                key.data.receive(start, start + seconds)
                if time.perf_counter() < start + seconds:
                    key.data.send()
                else:
                    ready.unregister(key.fileobj)
    return [
        summarize([ms for connection in group for ms in connection.milliseconds], seconds)
        for group in connections
    ]


def summarize(milliseconds: Sequence[float], seconds: float) -> Measurement:
    percentiles = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return Measurement(len(milliseconds) / seconds, percentiles[49], percentiles[98])
