"""What password managers read from the pages: username, kind of password, rules, and where to change it."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.tests.support.flows import LINK, sign_up
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements

CHANGE = "/.well-known/change-password"
NEW_PASSWORD = {
    "autocomplete": "new-password",
    "minlength": "15",
    "maxlength": "128",
    "passwordrules": "minlength: 15; maxlength: 128;",
}


class Inputs(HTMLParser):
    """Name → attributes of the inputs of a page."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.feed(response.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "input":
            attributes = dict(attrs)
            self.attributes[str(attributes["name"])] = attributes


@pytest.fixture
def last_page(run_jobs: Any) -> Callable[[], str]:
    def find() -> str:
        run_jobs()
        match = LINK.search(str(mail.outbox[-1].body))
        assert match
        return match[1]

    return find


def test_new_password_has_username_and_rules(api: API, last_page: Callable[[], str]) -> None:
    make_creator("zoe@xn--bcher-kva.example")
    api.post("password/reset", {"email": "zoe@bücher.example"})
    page = last_page()
    weak = {"new_password": "short", "new_password_again": "short"}
    for response in (Client().get(page), Client().post(page, weak)):
        inputs = Inputs(response).attributes
        username = inputs["username"]
        assert (username["value"], username["autocomplete"]) == ("zoe@bücher.example", "username")
        assert "readonly" in username
        for name in ("new_password", "new_password_again"):
            assert inputs[name].items() >= NEW_PASSWORD.items()


def test_password_of_the_sign_up_has_username(api: API, last_page: Callable[[], str]) -> None:
    sign_up(api, "zoe@example.com")
    page = last_page()
    for response in (Client().get(page), Client().post(page, {"password": "wrong"})):
        inputs = Inputs(response).attributes
        assert (inputs["username"]["value"], inputs["username"]["autocomplete"]) == (
            "zoe@example.com",
            "username",
        )
        assert inputs["password"]["autocomplete"] == "current-password"
        assert "minlength" not in inputs["password"]


def test_posted_username_is_ignored(api: API, last_page: Callable[[], str]) -> None:
    sign_up(api, "zoe@example.com")
    body = {"username": "mallory@example.com", "password": PASSWORD}
    assert Client().post(last_page(), body).status_code == 302
    assert api.post("login", {"email": "zoe@example.com", "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize("kind", ["reset", "verify-email"])
def test_invalid_link_does_not_reveal_the_address(
    api: API, ada: Person, last_page: Callable[[], str], kind: str
) -> None:
    if kind == "reset":
        api.post("password/reset", {"email": ada.email})
    else:
        sign_up(api, "zoe@example.com")
    page = last_page()
    assert f"/{kind}/" in page
    assert "@example.com" in Client().get(page).content.decode()
    passwords = {"password": PASSWORD, "new_password": "another lovely sentence"}
    wrong = f"{page[:-2]}{'A' if page[-2] != 'A' else 'B'}/"
    for path, body in ((wrong, {}), (wrong, passwords), (page.replace(page.split("/")[3], "x" * 22), {})):
        for response in (Client().get(path), Client().post(path, body)):
            assert response.status_code == 400
            assert "@example.com" not in response.content.decode()
    passwords["new_password_again"] = passwords["new_password"]
    assert Client().post(page, passwords).status_code == 302
    if kind == "reset":  # the other link stays usable, for a client that lost the response
        assert "@example.com" not in Client().get(page).content.decode()


def test_well_known_url_redirects_to_the_reset(ada: Person) -> None:
    with statements() as seen:
        for method in ("get", "head"):
            for headers in ({}, {"Authorization": f"Bearer {ada.access}"}):
                response = getattr(Client(), method)(CHANGE, headers=headers)
                assert (response.status_code, response["Location"]) == (302, "/account/password-reset/")
    assert seen == []
    assert Client().get(CHANGE, follow=True).status_code == 200
    assert Client().post(CHANGE).status_code == 405
    assert Client().get("/.well-known/resource-that-should-not-exist").status_code == 404
