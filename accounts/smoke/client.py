"""A client of the live service that waits out its limits and remembers which doors it has tried."""

import re
import time
from typing import Any

import httpx

TIMES_TO_WAIT = 3  # for one request


class CheckFailed(Exception):  # noqa: N818
    """What is wrong, as one sentence."""


class Service:
    def __init__(self, base_url: str) -> None:
        once = httpx.Limits(max_keepalive_connections=0)  # a kept one may be closed as we send on it
        self._http = httpx.Client(base_url=base_url, timeout=30, headers={"User-Agent": "smoke"}, limits=once)
        self.visited: set[tuple[str, str]] = set()

    def close(self) -> None:
        self._http.close()

    def send(
        self, method: str, path: str, body: Any = None, *, token: str = "", **more: Any
    ) -> httpx.Response:
        """The answer, whatever it is."""
        path = path if path.startswith("/") else f"/api/v1/{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.visited.add((method, path.partition("?")[0]))
        try:
            return self._http.request(method, path, json=body, headers=headers, **more)
        except httpx.HTTPError as error:
            message = f"{method} {path}: no answer ({type(error).__name__})"
            raise CheckFailed(message) from error

    def send_with_retry(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """The answer once the rate limit lets us in."""
        answer = self.send(method, path, body, **more)
        for _ in range(TIMES_TO_WAIT):
            if code_of(answer) != "rate_limited":
                break
            time.sleep(int(answer.headers["Retry-After"]))
            answer = self.send(method, path, body, **more)
        return answer

    def call(
        self, method: str, path: str, body: Any = None, *, expect: int, code: str = "", **more: Any
    ) -> Any:
        """What the expected answer says.

        Raises:
            CheckFailed: the answer is another one.

        """
        answer = self.send_with_retry(method, path, body, **more)
        require_response(f"{method} {path}", answer, expect, code)
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.json() if is_json else answer.text

    def unvisited(self, document: dict[str, Any]) -> list[str]:
        """Doors of the OpenAPI document that nobody has tried."""
        return [
            f"{method.upper()} {path}"
            for path, methods in document["paths"].items()
            for method in methods
            if not any(
                tried == method.upper()
                and re.fullmatch(re.sub(r"\\\{.+?\\\}", "[^/]+", re.escape(path)), where)
                for tried, where in self.visited
            )
        ]


def code_of(answer: httpx.Response) -> str:
    """The `code` of a problem, "" where it is none."""
    if answer.headers.get("Content-Type") != "application/problem+json":
        return ""
    return str(answer.json()["code"])


def require_response(door: str, answer: httpx.Response, expect: int, code: str = "") -> None:
    found = f"{answer.status_code} {code_of(answer)}".strip()
    wanted = f"{expect} {code}".strip()
    if answer.status_code != expect or (code and code_of(answer) != code):
        message = f"{door}: {found} instead of {wanted}"
        raise CheckFailed(message)


def require(holds: object, otherwise: str) -> None:
    if not holds:
        raise CheckFailed(otherwise)
