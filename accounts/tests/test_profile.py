"""The profile of the caller, and the change of its display name."""

from typing import Any

import psycopg
import pytest

from accounts.tests.support.flows import events
from config.tests.support.accounts import Person
from config.tests.support.client import API


def test_me_has_the_fields_of_the_contract(api: API, ada: Person) -> None:
    response = api.get("me", token=ada.access)
    me = response.json()
    assert set(me) == {"id", "email", "display_name", "email_verified", "created_at", "last_login_at"}
    assert (me["id"], me["email"], me["display_name"]) == (str(ada.id), ada.email, "Ada")
    assert me["email_verified"] is True
    assert me["created_at"].endswith("Z")
    assert response["Cache-Control"] == "no-store"


def test_me_needs_a_bearer(api: API, ada: Person) -> None:
    for method in (api.get, api.patch):
        response = method("me")
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_new_name_is_saved(api: API, ada: Person, bob: Person, superuser: psycopg.Connection) -> None:
    name = "Ada Königin von Lovelace 🌸"
    response = api.patch("me", {"display_name": name}, token=ada.access)
    assert (response.status_code, response.json()["display_name"]) == (200, name)
    assert api.get("me", token=ada.access).json()["display_name"] == name
    assert api.get("me", token=bob.access).json()["display_name"] == "Bob"
    assert events(superuser, of=ada.id) == ["profile.updated"]
    detail = superuser.execute("SELECT detail FROM audit_logs WHERE creator_id = %s", [ada.id]).fetchone()
    assert detail == ({"fields": ["display_name"]},)


def test_name_may_be_empty(api: API, ada: Person) -> None:
    assert api.patch("me", {"display_name": ""}, token=ada.access).json()["display_name"] == ""


def test_other_fields_of_a_patch_are_ignored(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    select = "SELECT * FROM creators ORDER BY id"
    before = superuser.execute(select).fetchall()
    body: dict[str, Any] = {
        "id": str(bob.id), "email": "mallory@example.com", "email_verified": False, "is_staff": True,
        "is_superuser": True, "is_active": False, "holds_email": False, "password": "x", "created_at": None,
        "last_login_at": "2000-01-01T00:00:00Z", "creator_id": str(bob.id), "__proto__": {}, "client": "x",
    }  # fmt: skip
    response = api.patch("me", body, token=ada.access)
    assert response.status_code == 200
    assert response.json() == api.get("me", token=ada.access).json()
    assert superuser.execute(select).fetchall() == before
    assert events(superuser) == []


@pytest.mark.parametrize(
    "name",
    ["x" * 101, "A\0da", None, True, ["Ada"], {"a": 1}],
    ids=["long", "NUL", "null", "bool", "list", "map"],
)  # fmt: skip
def test_invalid_name_is_refused(api: API, ada: Person, name: Any) -> None:
    response = api.patch("me", {"display_name": name}, token=ada.access)
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["display_name"]
    assert api.get("me", token=ada.access).json()["display_name"] == "Ada"


def test_longest_name_is_accepted(api: API, ada: Person) -> None:
    name = "🌸" * 100
    assert api.patch("me", {"display_name": name}, token=ada.access).json()["display_name"] == name


def test_deactivated_or_deleted_creator_is_refused_at_once(
    api: API, ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [ada.id])
    superuser.execute("DELETE FROM creators WHERE id = %s", [bob.id])
    for person in (ada, bob):
        response = api.get("me", token=person.access)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
        assert api.patch("me", {"display_name": "x"}, token=person.access).status_code == 401


def test_staff_are_refused(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    superuser.execute("UPDATE creators SET is_staff = true WHERE id = %s", [ada.id])
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 401


def test_responses_have_a_content_length(api: API, ada: Person) -> None:
    """Without it the server sends chunks, which is slower."""
    responses = [api.get("me", token=ada.access), api.get("me"), api.get("nowhere"), api.post("login", {})]
    assert [response.status_code for response in responses] == [200, 401, 404, 400]
    for response in responses:
        assert response["Content-Length"] == str(len(response.content))
    assert "Content-Length" not in api.post("logout/all", {}, token=ada.access)
