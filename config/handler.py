"""The request object, from whatever bytes arrive."""

import os
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

FORWARDED_PROTO = "HTTP_X_FORWARDED_PROTO"
# granian puts the process environment into each request's: HTTP_PROXY of a machine would be a header `Proxy`
INHERITED = {name: value for name, value in os.environ.items() if name.startswith("HTTP_")}


def build_request(environ: dict[str, Any]) -> WSGIRequest:
    """The request; `malformed` if Django can't make one of these headers.

    `accounts.middleware.MalformedRequestMiddleware` then refuses it, after it has got its id.
    """
    for name, value in INHERITED.items():
        if environ.get(name) == value:
            del environ[name]
    protocols = {protocol.strip() for protocol in environ.get(FORWARDED_PROTO, "").split(",")}
    if len(protocols) > 1:  # Django would believe the first of them, which is the client's
        del environ[FORWARDED_PROTO]
    supplanted = {"CONTENT_TYPE": "", "QUERY_STRING": "", "PATH_INFO": environ["PATH_INFO"]}
    try:
        request = WSGIRequest(environ)  # which writes into it
        b"\xff".decode(request.encoding or "utf-8", "replace")
    except Exception:  # noqa: BLE001  email.message and the codecs raise what they like
        request = WSGIRequest(environ | supplanted)
        request.malformed = True  # type: ignore[attr-defined]
    return request


class Handler(WSGIHandler):
    request_class = staticmethod(build_request)  # type: ignore[assignment]
