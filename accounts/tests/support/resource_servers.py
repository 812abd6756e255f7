"""Requests of a resource server."""

from typing import Any
from urllib.parse import urlencode

from config.tests.support.client import API


def post_token(api: API, action: str, key: str, token: str) -> Any:
    """`action`: introspect or revoke."""
    return api.generic(
        "POST",
        f"/api/v1/auth/token/{action}",
        urlencode({"token": token}),
        content_type="application/x-www-form-urlencoded",
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
