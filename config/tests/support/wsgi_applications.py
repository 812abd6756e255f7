"""WSGI applications that replace the service in tests of the server: an empty one, an endless one, a failing one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

BODY = b'{"status": "ready"}'


def empty(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]


class EndlessResponse:
    """Looks to the server like a streaming response of Django. Appends a byte to a file for each chunk it gives."""

    streaming = True
    headers: dict[str, str] = {}

    def __init__(self, chunks: Path) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        with self.chunks.open("ab", buffering=0) as file:
            for _ in range(10_000):
                file.write(b".")
                yield b"x" * 2**14

    def close(self) -> None:
        self.chunks.with_suffix(".closed").touch()


def endless(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/readyz":
        return empty(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/csv")])
    return EndlessResponse(Path(environ["CHUNKS"]))


def failing(environ: Any, start_response: Any) -> Any:
    """The service, with one path that fails outside of Django."""
    from config.wsgi import application

    if environ["PATH_INFO"] == "/failing":
        raise ZeroDivisionError
    return application(environ, start_response)
