"""A client of the live service. It retries after rate limits and records the endpoints it called."""

import re
import time
from typing import Any

import httpx

MAX_RETRIES = 3


class CheckFailed(Exception):  # noqa: N818
    """The message says what is wrong."""


class Client:
    def __init__(self, base_url: str) -> None:
        no_keepalive = httpx.Limits(max_keepalive_connections=0)  # the server may close an idle connection
        self._http = httpx.Client(
            base_url=base_url, timeout=30, headers={"User-Agent": "smoke"}, limits=no_keepalive
        )
        self.visited: set[tuple[str, str]] = set()

    def close(self) -> None:
        self._http.close()

    def send(
        self, method: str, path: str, body: Any = None, *, token: str = "", **options: Any
    ) -> httpx.Response:
        """Any response. Raises CheckFailed if there is none."""
        path = path if path.startswith("/") else f"/api/v1/{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.visited.add((method, path.partition("?")[0]))
        try:
            return self._http.request(method, path, json=body, headers=headers, **options)
        except httpx.HTTPError as error:
            message = f"{method} {path}: no response ({type(error).__name__})"
            raise CheckFailed(message) from error

    def send_with_retry(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """The response, after waiting for the rate limit if necessary."""
        response = self.send(method, path, body, **options)
        for _ in range(MAX_RETRIES):
            if code_of(response) != "rate_limited":
                break
            time.sleep(int(response.headers["Retry-After"]))
            response = self.send(method, path, body, **options)
        return response

    def call(
        self, method: str, path: str, body: Any = None, *, expect: int, code: str = "", **options: Any
    ) -> Any:
        """The body of the expected response; raises CheckFailed for another one."""
        response = self.send_with_retry(method, path, body, **options)
        require_response(f"{method} {path}", response, expect, code)
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.json() if is_json else response.text

    def unvisited(self, document: dict[str, Any]) -> list[str]:
        """Operations of the OpenAPI document that were not called."""
        return [
            f"{method.upper()} {path}"
            for path, methods in document["paths"].items()
            for method in methods
            if not any(
                called == method.upper()
                and re.fullmatch(re.sub(r"\\\{.+?\\\}", "[^/]+", re.escape(path)), called_path)
                for called, called_path in self.visited
            )
        ]


def code_of(response: httpx.Response) -> str:
    """The `code` of a problem, "" for other responses."""
    if response.headers.get("Content-Type") != "application/problem+json":
        return ""
    return str(response.json()["code"])


def require_response(call: str, response: httpx.Response, expect: int, code: str = "") -> None:
    actual = f"{response.status_code} {code_of(response)}".strip()
    expected = f"{expect} {code}".strip()
    if response.status_code != expect or (code and code_of(response) != code):
        message = f"{call}: {actual} instead of {expected}"
        raise CheckFailed(message)


def require(condition: object, message: str) -> None:
    if not condition:
        raise CheckFailed(message)
