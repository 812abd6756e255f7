"""Credentials for schemathesis, which loads this module. Each test case gets its own session."""

import os
from typing import Any
from uuid import UUID

import django
import schemathesis

django.setup()

from django.utils import timezone  # noqa: E402

from accounts.services import end_users, sessions  # noqa: E402
from audit.requests.client_info import ClientInfo  # noqa: E402
from tenancy.context import tenant_scope  # noqa: E402

CREATOR = UUID(os.environ["TESTED_CREATOR"])


def access_token() -> str:
    now = timezone.now()
    session = sessions.new_session(creator_id=CREATOR, client=ClientInfo(), now=now)
    with tenant_scope(CREATOR):
        started = sessions.start_session(session)
    assert started
    return sessions.token_pair(started.token, now=now).access


def end_user_token() -> str:
    return end_users.open_session(creator=CREATOR, metadata={}).session


CREDENTIALS = {
    "accessToken": access_token,
    "endUserSession": end_user_token,
    "apiKey": lambda: os.environ["TESTED_API_KEY"],
}


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case: Any, context: Any) -> str | None:
        security = case.operation.definition.raw.get("security", [])
        scheme = next((name for requirement in security for name in requirement), None)
        return CREDENTIALS[scheme]() if scheme else None

    def set(self, case: Any, data: str | None, context: Any) -> None:
        if data:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}
