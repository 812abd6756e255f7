"""Requests of a resource server."""

from typing import Any

from config.tests.support.client import API


def ask(api: API, path: str, key: str, token: str) -> Any:
    from urllib.parse import urlencode

    return api.generic(
        "POST",
        f"/api/v1/auth/token/{path}",
        urlencode({"token": token}),
        content_type="application/x-www-form-urlencoded",
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
