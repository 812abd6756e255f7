"""Load from one process that hardly takes any of the cores it shares with the service: kept sockets, one loop.

A story is what is said over one connection: a generator that gives a request and is handed the answer.
"""

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

Story = Generator[bytes, bytes, None]
WARM_SECONDS = 0.5  # unmeasured: then what is under way at the start weighs as much as what is at the end
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
REFRESH = re.compile(rb'"refresh": ?"([^"]+)"')


def request(method: str, path: str, body: Any = None, *, token: str = "") -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} /api/v1/auth/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
    head += "Content-Type: application/json\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
    return head.encode() + b"\r\n" + data


def asking(requests: Iterable[bytes], status: int = 200) -> Story:
    for one in requests:
        answer = yield one
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def rotating(refresh_tokens: Iterable[str]) -> Story:
    """Each token is spent in its turn, and its successor waits for the next."""
    waiting = deque(refresh_tokens)
    while True:
        answer = yield request("POST", "refresh", {"refresh": waiting.popleft()})
        given = REFRESH.search(answer)
        assert given, answer
        waiting.append(given[1].decode())


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")  # the last chunk


@dataclass(frozen=True)
class Pace:
    """Answers a second, and how many milliseconds the middle one and the hundredth slowest took."""

    per_second: float
    p50: float = math.nan
    p99: float = math.nan


@dataclass
class Line:
    """A kept connection, on which the next request follows the last answer."""

    port: int
    story: Story
    milliseconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next = next(self.story)

    def ask(self) -> None:
        self.asked = time.perf_counter()
        self.socket.sendall(self.next)

    def hear(self, begun: float, end: float) -> None:
        """Take the answer; it counts if it came in time."""
        answer = self.socket.recv(65536)
        while not is_whole(answer):
            more = self.socket.recv(65536)
            assert more, answer
            answer += more
        now = time.perf_counter()
        if begun <= now < end:
            self.milliseconds.append((now - self.asked) * 1000)
        self.next = self.story.send(answer)


def press(port: int, *crowds: Sequence[Story], seconds: float) -> list[Pace]:
    """Every story of every crowd at once; the pace of each crowd."""
    with ExitStack() as opened, selectors.DefaultSelector() as ready:
        groups = [[Line(port, story) for story in crowd] for crowd in crowds]
        begun = time.perf_counter() + WARM_SECONDS
        for line in (line for group in groups for line in group):
            opened.enter_context(line.socket)
            ready.register(line.socket, selectors.EVENT_READ, line)
            line.ask()
        while ready.get_map():
            for key, _ in ready.select():
                key.data.hear(begun, begun + seconds)
                if time.perf_counter() < begun + seconds:
                    key.data.ask()
                else:
                    ready.unregister(key.fileobj)
    return [pace([one for line in group for one in line.milliseconds], seconds) for group in groups]


def pace(milliseconds: Sequence[float], seconds: float) -> Pace:
    hundredths = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return Pace(len(milliseconds) / seconds, hundredths[49], hundredths[98])
