"""A resource server that verifies access tokens itself, with the published keys of the service.

pip install "pyjwt[crypto]"
ACCOUNTS=https://accounts.example.com python verify_by_keys.py
"""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from wsgiref.simple_server import make_server

import jwt

ACCOUNTS = os.environ["ACCOUNTS"]  # the service's PUBLIC_URL
ISSUER = os.environ.get("ISSUER", ACCOUNTS)
AUDIENCE = os.environ.get("AUDIENCE", ACCOUNTS)
ALGORITHM = os.environ.get("ALGORITHM", "RS256")  # from the configuration, never from the token
KEYS_URL = os.environ.get("KEYS_URL", f"{ACCOUNTS}/.well-known/jwks.json")
MAX_AGE_SECONDS = float(os.environ.get("MAX_AGE_SECONDS", "300"))  # at most the max-age of the response
PAUSE_SECONDS = float(os.environ.get("PAUSE_SECONDS", "30"))  # at least, between two fetches


class NoKeysError(Exception):
    """No keys have been fetched yet, so no token can be verified."""


class PublishedKeys:
    """The service's public keys by `kid`, cached for MAX_AGE_SECONDS, or longer if it does not answer.

    The service publishes a key for that long before it signs, so every key is known in time. An unknown `kid`
    (an operator replaced the key by hand) causes another fetch, but at most one per PAUSE_SECONDS, because
    anyone can send made-up ones.
    """

    def __init__(self) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._tried_at = self._fetched_at = float("-inf")
        self._fetching = threading.Lock()

    def get(self, kid: str) -> jwt.PyJWK | None:
        now = time.monotonic()
        stale = kid not in self._keys or now - self._fetched_at > MAX_AGE_SECONDS
        if stale and now - self._tried_at > PAUSE_SECONDS:
            self._fetch()
        if not self._keys:
            raise NoKeysError
        return self._keys.get(kid)

    def _fetch(self) -> None:
        with self._fetching:  # concurrent requests wait for this fetch instead of starting their own
            if time.monotonic() - self._tried_at <= PAUSE_SECONDS:
                return
            try:
                with urllib.request.urlopen(KEYS_URL, timeout=2) as response:
                    found = json.load(response)["keys"]
                self._keys = {
                    key["kid"]: jwt.PyJWK(key, ALGORITHM) for key in found if key.get("alg") == ALGORITHM
                }
                self._fetched_at = time.monotonic()
            except (OSError, HTTPException, ValueError, KeyError, jwt.PyJWTError) as error:
                print(f"fetching the keys failed: {error!r}", flush=True)  # the old ones remain in use
            finally:
                self._tried_at = time.monotonic()


KEYS = PublishedKeys()


def claims_of(token: str) -> dict[str, Any] | None:
    """The claims of a valid access token; None for any other text.

    They do not say whether the session has been ended since; only the service knows.

    Raises:
        NoKeysError: no keys could be fetched so far.

    """
    try:
        key = KEYS.get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            return None
        required = ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "token_type"]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=5,  # seconds of clock difference
            options={"require": required, "strict_aud": True},
        )
    except jwt.PyJWTError:
        return None
    return claims if claims["token_type"] == "access" else None  # not a refresh token


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    headers = [("Content-Type", "application/json")]
    try:
        claims = claims_of(token) if scheme.lower() == "bearer" else None
    except NoKeysError:
        status, body = HTTPStatus.SERVICE_UNAVAILABLE, {"code": "unavailable"}
        headers.append(("Retry-After", str(int(PAUSE_SECONDS) + 1)))
    else:
        status = HTTPStatus.OK if claims else HTTPStatus.UNAUTHORIZED
        body = {"creator": claims["sub"]} if claims else {"code": "invalid_token"}
        if not claims:
            headers.append(("WWW-Authenticate", 'Bearer error="invalid_token"'))
    start_response(f"{status.value} {status.phrase}", headers)
    return [json.dumps(body).encode()]


if __name__ == "__main__":
    make_server("127.0.0.1", int(os.environ.get("PORT", "8001")), application).serve_forever()
