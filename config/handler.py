"""Builds request objects, also from malformed headers."""

import os
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# granian merges the process environment into the WSGI environ: HTTP_PROXY would become a header `Proxy`
PROCESS_VARIABLES = {name: value for name, value in os.environ.items() if name.startswith("HTTP_")}


def build_request(environ: dict[str, Any]) -> WSGIRequest:
    """The request. If Django can't parse its headers, they are replaced and it gets `malformed = True`.

    `accounts.middleware.MalformedRequestMiddleware` refuses it later, after it has got its request id.
    """
    for name, value in PROCESS_VARIABLES.items():
        if environ.get(name) == value:
            del environ[name]
    protocols = {protocol.strip() for protocol in environ.get(FORWARDED_PROTO, "").split(",")}
    if len(protocols) > 1:  # Django would take the first one, which the client sent
        del environ[FORWARDED_PROTO]
    replacements = {"CONTENT_TYPE": "", "QUERY_STRING": "", "PATH_INFO": environ["PATH_INFO"]}
    try:
        request = WSGIRequest(environ)  # it changes environ
        b"\xff".decode(request.encoding or "utf-8", "replace")
    except Exception:  # noqa: BLE001  email.message and codecs raise any exception
        request = WSGIRequest(environ | replacements)
        request.malformed = True  # type: ignore[attr-defined]
    return request


class Handler(WSGIHandler):
    request_class = staticmethod(build_request)  # type: ignore[assignment]
