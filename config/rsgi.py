"""One request as granian has it, handed to the WSGI application.

Granian's WSGI interface folds the names of headers: `X_Forwarded_For`, which a client may send through a
proxy that lets it pass, becomes `HTTP_X_FORWARDED_FOR` and replaces the proxy's own `X-Forwarded-For`
(RFC 9110 § 17.10). Its RSGI interface has the names as they were sent. Granian calls the scheduler of either
interface in a thread for blocking work, and the application runs there. A body is received without a thread.
"""

import json
import logging
import os
import select
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
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
TAKEN_WITHIN = 30.0  # seconds, for a client to take the next piece of an answer
STREAMS_AT_ONCE = 4  # in each process: each holds a thread for as long as its client reads
WEBSOCKETS = 11  # the place of the one argument that RSGIWorker takes and WSGIWorker does not
RSGIWorker: Any = _granian.RSGIWorker  # not as its types have it, which lag behind
CallbackScheduler: Any = _granian.CallbackScheduler
_streams = threading.BoundedSemaphore(STREAMS_AT_ONCE)
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
        Body(length, watcher.proto.__aiter__(), exchange.answer, exchange.refuse).receive()
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
    refuse: Callable[[], None]  # an incomplete body: nothing is done with the part that came (RFC 9112, 8)
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
        elif self.received < self.length:
            self.refuse()
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
            "wsgi.url_scheme": scope.scheme,
            "wsgi.input": BytesIO(body),
            **({"HTTP_HOST": scope.authority} if scope.authority else {}),
            **self.headers,
        }

    def refuse(self) -> None:
        self._problem(400, "invalid_input", "The body is shorter than its Content-Length.")

    def _fail(self, error: Exception) -> None:
        request_id = uuid4().hex
        logger.error("no answer", exc_info=error, extra={"failed_request_id": request_id})
        self._problem(500, "internal_error", "Something went wrong on our side.", request_id)

    def _problem(self, status: int, code: str, detail: str, request_id: str = "") -> None:
        """Answer in place of the application (RFC 9457)."""
        request_id = request_id or uuid4().hex
        problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
        problem |= {"detail": detail, "code": code, "request_id": request_id}
        headers = [("Content-Type", "application/problem+json"), ("X-Request-ID", request_id)]
        self.proto.response_bytes(status, headers, json.dumps(problem).encode())

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
        if not _streams.acquire(blocking=False):
            self._problem(503, "busy", "Too many large answers are being sent. Try again in a moment.")
            return
        try:
            with pipe_to(partial(self.proto.response_file, status, headers)) as descriptor:
                for chunk in chunks:
                    write_all(descriptor, chunk)
        except BrokenPipeError:
            logger.info("the client is gone, or too slow")
        finally:
            _streams.release()


def is_short(response: Any) -> bool:
    """A file knows its length; an export does not."""
    if not response.streaming:
        return True
    length = response.headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= LONGEST_HELD


@contextmanager
def pipe_to(read: Callable[[str], None]) -> Iterator[int]:
    """The writing end of a named pipe, which does not block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "body")
        os.mkfifo(path, 0o600)
        read(str(path))
        descriptor = _opened(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Raises BrokenPipeError if the reader is gone, or takes nothing for TAKEN_WITHIN."""
    left = memoryview(data)
    while left:
        if not select.select([], [descriptor], [], TAKEN_WITHIN)[1]:
            raise BrokenPipeError
        with suppress(BlockingIOError):
            left = left[os.write(descriptor, left) :]


def _opened(path: Path) -> int:
    """Its writing end, once somebody reads. Raises BrokenPipeError if nobody does."""
    deadline = time.monotonic() + OPENED_WITHIN
    while time.monotonic() < deadline:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.001)
    raise BrokenPipeError
