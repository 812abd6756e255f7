"""The audit log in the API: creators read their own events."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.utils import timezone

from audit.events import SUMMARIES, Event
from config.tests.support.accounts import Person
from config.tests.support.client import API

URL = "/api/v1/audit/events"


def test_every_event_has_a_summary() -> None:
    assert set(SUMMARIES) == set(Event)


def test_creator_reads_only_own_events(api: API, ada: Person, bob: Person) -> None:
    api.post("login", {"email": ada.email, "password": ada.password}, **{"User-Agent": "curl/8"})
    api.post("login", {"email": bob.email, "password": "wrong"})
    (event,) = api.get(URL, token=ada.access).json()["results"]
    assert set(event) == {"id", "at", "type", "summary", "ip_address", "user_agent", "request_id", "detail"}
    assert (event["type"], event["summary"]) == ("login.succeeded", "You signed in.")
    assert (event["ip_address"], event["user_agent"]) == ("127.0.0.1", "curl/8")
    assert api.get(URL).status_code == 401


def test_events_are_filtered_by_type_and_time(api: API, ada: Person) -> None:
    api.patch("me", {"display_name": "x"}, token=ada.access)
    middle = timezone.now()
    api.post("login", {"email": ada.email, "password": ada.password})

    def types(query: str) -> list[str]:
        response = api.get(f"{URL}?{query}", token=ada.access)
        assert response.status_code == 200, response.content
        return [event["type"] for event in response.json()["results"]]

    assert types("") == ["login.succeeded", "profile.updated"]
    assert types("type=profile.updated") == ["profile.updated"]
    assert types(f"after={quote(middle.isoformat())}") == ["login.succeeded"]
    assert types(f"before={quote(middle.isoformat())}") == ["profile.updated"]
    assert types(f"after={quote((middle + timedelta(days=1)).isoformat())}") == []


@pytest.mark.parametrize(
    "query", ["type=nonsense", "after=yesterday", "before=0000-00-00", "cursor=x", "type=%00"]
)
def test_invalid_filter_is_named_in_the_error(api: API, ada: Person, query: str) -> None:
    response = api.get(f"{URL}?{query}", token=ada.access)
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == query.partition("=")[0]
