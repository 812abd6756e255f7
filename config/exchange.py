"""One request as granian has it, handed to the WSGI application.

Granian's WSGI interface folds the names of headers: `X_Forwarded_For`, which a client may send through a
proxy that lets it pass, becomes `HTTP_X_FORWARDED_FOR` and replaces the proxy's own `X-Forwarded-For`
(RFC 9110 § 17.10). Its RSGI interface has the names as they were sent. Granian calls the scheduler of either
interface in a thread for blocking work, and the application runs there. A body is received without a thread.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from granian import _granian

logger = logging.getLogger("django.server")
Runner = Callable[["Exchange", dict[str, Any]], int]  # granian's wrapper of a WSGI application
Headers = list[tuple[str, str]]
LONGEST_KEPT = 2**16  # bytes of a body; a longer one is received and forgotten: the application refuses it
LONGEST_RECEIVED = 2**20  # bytes; if a body says that it is longer, nothing of it is read
LENGTH_DIGITS = 8
LONGEST_HELD = 2**22  # bytes of an answer in pieces that are put together first
OPENED_WITHIN = 2.0  # seconds
WEBSOCKETS = 11  # the place of the one argument that RSGIWorker takes and WSGIWorker does not
RSGIWorker: Any = _granian.RSGIWorker  # not as its types have it, which lag behind
CallbackScheduler: Any = _granian.CallbackScheduler
UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class Callbacks:
    """In place of an event loop: what waited for a body goes on in the thread that brings it."""

    def call_soon(self, callback: Callable[..., None], *args: Any, context: Any = None) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon


class Worker:
    """A worker of granian's RSGI interface, made and started as one of its WSGI interface."""

    def __init__(self, *arguments: Any) -> None:
        self._worker = RSGIWorker(*arguments[:WEBSOCKETS], False, *arguments[WEBSOCKETS:])  # noqa: FBT003

    def __getattr__(self, name: str) -> Any:
        serve = getattr(self._worker, name)
        return lambda scheduler, _loop, stopped: serve(scheduler, Callbacks(), stopped)


class Scheduler(CallbackScheduler):  # type: ignore[misc]
    def __new__(cls, _loop: Any, runner: Runner, **_options: Any) -> Any:
        self = super().__new__(cls, Callbacks(), runner, None, None, None)
        self._schedule_fn = partial(receive, runner)
        return self

    def __init__(self, *_args: Any, **_options: Any) -> None:
        super().__init__()


def receive(runner: Runner, watcher: Any) -> None:
    """Let the application answer; if there is a body to be read, as soon as it is here."""
    exchange = Exchange(runner, watcher.scope, watcher.proto, folded(watcher.scope.headers.items()))
    length = length_of(exchange.headers)
    if length:
        Body(length, watcher.proto.__aiter__(), exchange.answer).receive()
    else:
        exchange.answer(b"")


def folded(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by WSGI's names. A name with an underscore could pass for another's, so it is dropped."""
    found: dict[str, str] = {}
    for name, value in headers:
        if "_" in name:
            continue
        key = UNPREFIXED.get(name) or "HTTP_" + name.upper().replace("-", "_")
        separator = ";" if name == "cookie" else ","
        found[key] = f"{found[key]}{separator}{value}" if key in found else value
    return found


def length_of(headers: dict[str, str]) -> int:
    """Bytes of the body that are to be received."""
    text = headers.get("CONTENT_LENGTH", "")
    if "HTTP_TRANSFER_ENCODING" in headers or len(text) > LENGTH_DIGITS or not text.isdigit():
        return 0
    return int(text) if int(text) <= LONGEST_RECEIVED else 0


@dataclass
class Body:
    """A client that is answered before it has sent everything may see a closed connection instead."""

    length: int
    stream: Any
    answer: Callable[[bytes], None]
    chunks: list[bytes] = field(default_factory=list)
    received: int = 0

    def receive(self) -> None:
        self.stream.__anext__().add_done_callback(self._take)

    def _take(self, future: Any) -> None:
        chunk: bytes = future.result()  # empty at the end, and if the connection is gone
        self.received += len(chunk)
        if self.length <= LONGEST_KEPT:
            self.chunks.append(chunk)
        if chunk and self.received < self.length:
            self.receive()
        else:
            self.answer(b"".join(self.chunks))


@dataclass(slots=True)
class Exchange:
    """A request and the way back; has what granian's WSGI wrapper wants for the answer."""

    runner: Runner
    scope: Any
    proto: Any
    headers: dict[str, str]

    def answer(self, body: bytes) -> None:
        """Granian would forget an exception; those of the application are answered before."""
        try:
            self.runner(self, self._environ(body))
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _environ(self, body: bytes) -> dict[str, Any]:
        scope = self.scope
        server, _, port = scope.server.rpartition(":")
        return {
            "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
            "SERVER_NAME": server.strip("[]"),
            "SERVER_PORT": port,
            "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
            "REQUEST_METHOD": scope.method,
            "PATH_INFO": scope.path.encode().decode("latin-1"),
            "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
            "HTTP_HOST": scope.authority or "",
            "wsgi.url_scheme": scope.scheme,
            "wsgi.input": BytesIO(body),
            **self.headers,
        }

    def _fail(self, error: Exception) -> None:
        problem = {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
            "code": "internal_error",
        }
        problem |= {"detail": "Something went wrong on our side.", "request_id": uuid4().hex}
        logger.error("no answer", exc_info=error, extra={"failed_request_id": problem["request_id"]})
        headers = [("Content-Type", "application/problem+json"), ("X-Request-ID", str(problem["request_id"]))]
        self.proto.response_bytes(500, headers, json.dumps(problem).encode())

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.proto.response_bytes(status, headers, body)

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        response = body.inner
        try:
            if is_short(response):
                self.proto.response_bytes(status, headers, b"".join(response))
            else:
                self._stream(status, headers, response)
        finally:
            body.close()

    def _stream(self, status: int, headers: Headers, chunks: Iterable[bytes]) -> None:
        """Through a named pipe: in RSGI it alone makes the sender wait for a slow client."""
        try:
            with pipe_to(partial(self.proto.response_file, status, headers)) as pipe:
                for chunk in chunks:
                    pipe.write(chunk)
        except BrokenPipeError:
            logger.info("the client is gone")


def is_short(response: Any) -> bool:
    """A file knows its length; an export does not."""
    if not response.streaming:
        return True
    length = response.headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= LONGEST_HELD


@contextmanager
def pipe_to(read: Callable[[str], None]) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "body")
        os.mkfifo(path, 0o600)
        read(str(path))
        descriptor = _opened(path)
    with os.fdopen(descriptor, "wb") as pipe:
        yield pipe


def _opened(path: Path) -> int:
    """Its writing end, once somebody reads. Raises BrokenPipeError if nobody does."""
    deadline = time.monotonic() + OPENED_WITHIN
    while time.monotonic() < deadline:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.001)
        else:
            os.set_blocking(descriptor, True)
            return descriptor
    raise BrokenPipeError
