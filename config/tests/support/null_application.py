"""A WSGI application that does nothing: what is left of a request then is the server's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

BODY = b'{"status": "ready"}'


def application(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]


class Export:
    """A response of Django's that never ends, as far as a server looks at it; its file grows with what is taken."""

    streaming = True
    headers: dict[str, str] = {}

    def __init__(self, taken: Path) -> None:
        self.taken = taken

    def __iter__(self) -> Iterator[bytes]:
        with self.taken.open("ab", buffering=0) as file:
            for _ in range(10_000):
                file.write(b".")
                yield b"x" * 2**14

    def close(self) -> None:
        self.taken.with_suffix(".closed").touch()


def export(environ: Any, start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/readyz":
        return application(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/csv")])
    return Export(Path(environ["TAKEN"]))


def broken(environ: Any, start_response: Any) -> Any:
    """The service, except that what surrounds it fails."""
    from config.wsgi import application as service

    if environ["PATH_INFO"] == "/broken":
        raise ZeroDivisionError
    return service(environ, start_response)
