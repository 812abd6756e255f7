"""Helpers for the admin's pages of creators."""

import re
from typing import Any

from django.test import Client

from config.tests.support.accounts import Person
from config.tests.support.client import API

LIST = "/admin/accounts/creator/"


OPERATOR_USER_AGENT = "Olga's own browser"
REASON = "Ticket 4711: mails don't arrive"


def page_of(person: Person) -> str:
    return f"{LIST}{person.id}/change/"


def text_of(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def record_justification(client: Client, person: Person, reason: str = REASON) -> Any:
    return client.post(page_of(person), {"reason": reason}, headers={"User-Agent": OPERATOR_USER_AGENT})


def events_seen_by(api: API, person: Person) -> list[dict[str, Any]]:
    response = api.get("/api/v1/audit/events", token=person.access)
    assert response.status_code == 200
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def assert_anonymous(text: str, operator: Person) -> None:
    for trace in (operator.email, str(operator.id), operator.id.hex, OPERATOR_USER_AGENT):
        assert trace not in text
