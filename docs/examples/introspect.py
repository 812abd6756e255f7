"""A resource server that introspects each token (RFC 7662): an ended session is refused at once.

API_KEY=$(python manage.py create_api_key "the shop")        # in the service's folder
ACCOUNTS=https://accounts.example.com API_KEY=… python introspect.py
"""

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from wsgiref.simple_server import make_server

ACCOUNTS = os.environ["ACCOUNTS"]  # the service's PUBLIC_URL
API_KEY = os.environ["API_KEY"]


def claims_of(token: str) -> dict[str, Any] | None:
    """The claims of an active access token; None for any other text.

    Raises:
        OSError, HTTPException, ValueError: the service does not answer, or refuses the API key. This says
            nothing about the token.

    """
    request = urllib.request.Request(
        f"{ACCOUNTS}/api/v1/auth/token/introspect",
        urllib.parse.urlencode({"token": token}).encode(),
        {"Authorization": f"Bearer {API_KEY}"},
    )
    with urllib.request.urlopen(request, timeout=2) as response:
        claims: dict[str, Any] = json.load(response)
    # refresh tokens and the sessions of end users can be active too; this server does not accept them
    return claims if claims["active"] and claims["token_type"] == "access" else None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    headers = [("Content-Type", "application/json")]
    try:
        claims = claims_of(token) if scheme.lower() == "bearer" and token else None
    except (OSError, HTTPException, ValueError) as error:
        print(f"introspection failed: {error!r}", flush=True)
        status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"code": "unavailable"}
        headers.append(("Retry-After", "2"))
    else:
        status = HTTPStatus.OK if claims else HTTPStatus.UNAUTHORIZED
        body = {"creator": claims["sub"]} if claims else {"code": "invalid_token"}
        if not claims:
            headers.append(("WWW-Authenticate", 'Bearer error="invalid_token"'))
    start_response(f"{status.value} {status.phrase}", headers)
    return [json.dumps(body).encode()]


if __name__ == "__main__":
    make_server("127.0.0.1", int(os.environ.get("PORT", "8001")), application).serve_forever()
