"""A WSGI application that does nothing: what is left of a request then is the server's."""

from typing import Any

BODY = b'{"status": "ready"}'


def application(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]
