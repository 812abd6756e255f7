"""A JSON client for the API, on Django's test client."""

import json
from typing import Any

from django.test import Client


class API(Client):
    """`api.post("login", {...}, token=access_token)`; paths without a leading `/` are under /api/v1/auth/."""

    def call(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> Any:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        if not path.startswith("/"):
            path = f"/api/v1/auth/{path}"
        return self.generic(
            method,
            path,
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers=authorization | headers,
        )

    def post(self, path: str, body: Any = None, **more: Any) -> Any:  # type: ignore[override]
        return self.call("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> Any:  # type: ignore[override]
        return self.call("GET", path, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> Any:  # type: ignore[override]
        return self.call("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> Any:  # type: ignore[override]
        return self.call("DELETE", path, **more)
