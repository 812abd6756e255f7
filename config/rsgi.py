"""Serves the WSGI application through granian's RSGI interface.

Granian's WSGI interface merges headers whose names differ only in `-` and `_`: `X_Forwarded_For`, which a
client can send through a proxy, becomes `HTTP_X_FORWARDED_FOR` and replaces the proxy's `X-Forwarded-For`
(RFC 9110 § 17.10). Its RSGI interface passes the names as they were sent. It also receives a body without a
thread; the application runs in one of granian's blocking threads, as with WSGI.

`config.launcher.granian` replaces granian's WSGI worker and scheduler by those of this module.
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
Runner = Callable[["Exchange", dict[str, Any]], int]  # calls the WSGI application; made by granian
Headers = list[tuple[str, str]]
MAX_KEPT_BODY = 2**16  # bytes; a longer body is received and discarded: the application refuses it
MAX_RECEIVED_BODY = 2**20  # bytes; a body with a larger Content-Length is not read at all
MAX_LENGTH_DIGITS = 8
MAX_JOINED_RESPONSE = 2**22  # bytes of a streaming response that is sent in one piece
OPEN_TIMEOUT = 2.0  # seconds for granian to open the pipe of a response
WRITE_TIMEOUT = 30.0  # seconds for the client to take the next chunk of a response
MAX_STREAMS = 4  # in each process: a stream holds a thread until its client has read it
WEBSOCKETS_ARGUMENT = 11  # position of the one argument that RSGIWorker has and WSGIWorker has not
RSGIWorker: Any = _granian.RSGIWorker  # Any: its type stubs are outdated
CallbackScheduler: Any = _granian.CallbackScheduler
_streams = threading.BoundedSemaphore(MAX_STREAMS)
WITHOUT_PREFIX = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class InlineLoop:
    """Replaces the event loop: runs a callback at once, in the thread that received the body."""

    def call_soon(self, callback: Callable[..., None], *args: Any, context: Any = None) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon


class Worker:
    """Granian's RSGI worker, with the constructor and the methods of its WSGI worker."""

    def __init__(self, *arguments: Any) -> None:
        self._worker = RSGIWorker(*arguments[:WEBSOCKETS_ARGUMENT], False, *arguments[WEBSOCKETS_ARGUMENT:])  # noqa: FBT003

    def __getattr__(self, name: str) -> Any:
        serve = getattr(self._worker, name)
        return lambda scheduler, _loop, stopped: serve(scheduler, InlineLoop(), stopped)


class Scheduler(CallbackScheduler):  # type: ignore[misc]
    """Calls `handle` for each request, with the constructor of granian's WSGI scheduler."""

    def __new__(cls, _loop: Any, runner: Runner, **_options: Any) -> Any:
        self = super().__new__(cls, InlineLoop(), runner, None, None, None)
        self._schedule_fn = partial(handle, runner)
        return self

    def __init__(self, *_args: Any, **_options: Any) -> None:
        super().__init__()


def handle(runner: Runner, watcher: Any) -> None:
    """Receive the body if there is one, then call the application."""
    exchange = Exchange(runner, watcher.scope, watcher.proto, wsgi_headers(watcher.scope.headers.items()))
    length = body_length(exchange.headers)
    if length:
        Body(length, watcher.proto.__aiter__(), exchange.run, exchange.refuse).receive()
    else:
        exchange.run(b"")


def wsgi_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by WSGI's names. A name with `_` would get the same key as one with `-`, so it is dropped."""
    merged: dict[str, str] = {}
    for name, value in headers:
        if "_" in name:
            continue
        key = WITHOUT_PREFIX.get(name) or "HTTP_" + name.upper().replace("-", "_")
        separator = ";" if name == "cookie" else ","
        merged[key] = f"{merged[key]}{separator}{value}" if key in merged else value
    return merged


def body_length(headers: dict[str, str]) -> int:
    """Bytes to receive. 0 if the body is chunked, malformed or too long, and is refused unread."""
    text = headers.get("CONTENT_LENGTH", "")
    if "HTTP_TRANSFER_ENCODING" in headers or len(text) > MAX_LENGTH_DIGITS or not text.isdigit():
        return 0
    return int(text) if int(text) <= MAX_RECEIVED_BODY else 0


@dataclass
class Body:
    """Receives the whole body before the application runs.

    A client that is still sending when the response comes may see only a closed connection.
    """

    length: int
    stream: Any
    on_complete: Callable[[bytes], None]
    on_incomplete: Callable[[], None]  # an incomplete message must not be processed (RFC 9112 § 8)
    chunks: list[bytes] = field(default_factory=list)
    received: int = 0

    def receive(self) -> None:
        self.stream.__anext__().add_done_callback(self._take)

    def _take(self, future: Any) -> None:
        chunk: bytes = future.result()  # empty at the end of the body or of the connection
        self.received += len(chunk)
        if self.length <= MAX_KEPT_BODY:
            self.chunks.append(chunk)
        if chunk and self.received < self.length:
            self.receive()
        elif self.received < self.length:
            self.on_incomplete()
        else:
            self.on_complete(b"".join(self.chunks))


@dataclass(slots=True)
class Exchange:
    """A request and its response, with the methods that granian's runner calls to send the response."""

    runner: Runner
    scope: Any
    proto: Any
    headers: dict[str, str]

    def run(self, body: bytes) -> None:
        """Call the application. Django handles the exceptions of views; granian would discard others."""
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
        logger.error(
            "request failed outside of Django", exc_info=error, extra={"failed_request_id": request_id}
        )
        self._problem(500, "internal_error", "Something went wrong on our side.", request_id)

    def _problem(self, status: int, code: str, detail: str, request_id: str = "") -> None:
        """Respond without the application (RFC 9457)."""
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
        """Send the chunks through a named pipe: granian waits for a slow client only if it sends a file."""
        if not _streams.acquire(blocking=False):
            self._problem(503, "busy", "Too many large responses are being sent. Try again in a moment.")
            return
        try:
            with pipe_to(partial(self.proto.response_file, status, headers)) as descriptor:
                for chunk in chunks:
                    write_all(descriptor, chunk)
        except BrokenPipeError:
            logger.info("response aborted: the client disconnected or reads too slowly")
        finally:
            _streams.release()


def is_short(response: Any) -> bool:
    """Whether the response fits in memory. A file has a Content-Length, an export has none."""
    if not response.streaming:
        return True
    length = response.headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= MAX_JOINED_RESPONSE


@contextmanager
def pipe_to(read: Callable[[str], None]) -> Iterator[int]:
    """Call `read` with the path of a named pipe; yields its writing end, which does not block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "body")
        os.mkfifo(path, 0o600)
        read(str(path))
        descriptor = _open_writer(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Raises: BrokenPipeError if the reader has closed the pipe, or reads nothing for WRITE_TIMEOUT."""
    remaining = memoryview(data)
    while remaining:
        if not select.select([], [descriptor], [], WRITE_TIMEOUT)[1]:
            raise BrokenPipeError
        with suppress(BlockingIOError):
            remaining = remaining[os.write(descriptor, remaining) :]


def _open_writer(path: Path) -> int:
    """Open the pipe for writing once it has a reader.

    Raises: BrokenPipeError if it has none within OPEN_TIMEOUT.
    """
    deadline = time.monotonic() + OPEN_TIMEOUT
    while time.monotonic() < deadline:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.001)
    raise BrokenPipeError
