"""Sessions are listed, ended and limited in number."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from config.tests.support.accounts import Person, sign_in
from config.tests.support.client import API

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def log_in(api: API, person: Person, **headers: str) -> dict[str, Any]:
    response = api.post("login", {"email": person.email, "password": person.password}, **headers)
    assert response.status_code == 200, response.content
    pair: dict[str, Any] = response.json()
    return pair


def test_list_has_device_address_and_current_session(api: API, ada: Person, bob: Person) -> None:
    access = log_in(api, ada, **{"User-Agent": FIREFOX})["access"]
    page = api.get("sessions", token=access).json()
    assert set(page) == {"next", "previous", "results"}
    newest = page["results"][0]
    assert set(newest) == {
        "id",
        "created_at",
        "last_used_at",
        "ip_address",
        "user_agent",
        "device",
        "current",
    }
    assert (newest["device"], newest["ip_address"]) == ("Firefox on Linux", "127.0.0.1")
    assert [row["current"] for row in page["results"]] == [True, False]


def test_page_links_use_the_public_url(api: API, ada: Person, settings: Any) -> None:
    for _ in range(60):
        sign_in(ada)
    page = api.get("sessions", token=ada.access).json()
    assert len(page["results"]) == 50
    assert page["next"].startswith(settings.PUBLIC_URL)
    rest = api.get(page["next"].removeprefix(settings.PUBLIC_URL), token=ada.access).json()
    assert len(rest["results"]) == 11
    assert {r["id"] for r in rest["results"]}.isdisjoint(r["id"] for r in page["results"])


@pytest.mark.parametrize("cursor", ["x", "cD1hYmM=", "cD0wMDAwMDAwMC0="])
def test_invalid_cursor_is_refused(api: API, ada: Person, cursor: str) -> None:
    from urllib.parse import quote

    response = api.get(f"sessions?cursor={quote(cursor)}", token=ada.access)
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "cursor"


def test_tokens_of_an_ended_session_are_invalid_at_once(api: API, ada: Person) -> None:
    other = log_in(api, ada)
    rows = api.get("sessions", token=other["access"]).json()["results"]
    other_id = next(row["id"] for row in rows if row["current"])
    assert api.delete(f"sessions/{other_id}", token=ada.access).status_code == 204
    assert api.get("me", token=other["access"]).status_code == 401
    assert api.post("refresh", {"refresh": other["refresh"]}).json()["code"] == "invalid_token"
    assert api.delete(f"sessions/{other_id}", token=ada.access).status_code == 404
    assert api.get("me", token=ada.access).status_code == 200


def test_other_tenants_session_is_not_found(api: API, ada: Person, bob: Person) -> None:
    bobs_session = api.get("sessions", token=bob.access).json()["results"][0]["id"]
    response = api.delete(f"sessions/{bobs_session}", token=ada.access)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert api.get("me", token=bob.access).status_code == 200


def test_session_limit_ends_the_oldest(api: API, ada: Person, settings: Any) -> None:
    settings.MAX_SESSIONS_PER_CREATOR = 2
    second = log_in(api, ada)["access"]
    third = log_in(api, ada)["access"]
    assert [api.get("me", token=t).status_code for t in (ada.access, second, third)] == [401, 200, 200]


def test_idle_session_expires(api: API, ada: Person, settings: Any, superuser: Any) -> None:
    settings.SESSION_IDLE_LIFETIME = timedelta(days=7)
    superuser.execute(
        "UPDATE sessions SET last_used_at = %s", [timezone.now() - timedelta(days=7) + timedelta(seconds=30)]
    )
    assert api.get("me", token=ada.access).status_code == 200
    superuser.execute("UPDATE sessions SET last_used_at = last_used_at - interval '31 seconds'")
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("refresh", {"refresh": ada.refresh}).json()["code"] == "invalid_token"
