"""The pages in a real browser: by keyboard, on a phone, in dark mode, in German, without JavaScript.

SCREENSHOTS=/some/directory saves a screenshot of each page, small and large, light and dark.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from accounts.tests.support.flows import LINK
from config.tests.support.accounts import PASSWORD, make_creator
from config.tests.support.browser import (
    Browser,
    browsing,
    requires_chromium,
    served,
)
from config.tests.support.live_server import LiveServer

__all__ = ["served"]
pytestmark = [pytest.mark.slow, requires_chromium]
NEW, WEAK = "another lovely sentence", "creator accounts password"


@pytest.fixture(scope="module")
def browser(served: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(served, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def last_link(run_jobs: Any) -> Callable[[], str]:
    """The path that the newest mail links to."""

    def find() -> str:
        run_jobs()
        found = LINK.search(str(mail.outbox[-1].body))
        assert found
        return found[1]

    return find


def can_sign_in(served: LiveServer, email: str, password: str) -> bool:
    return served.post("login", {"email": email, "password": password}).status == 200


def reset_by_keyboard(
    browser: Browser, last_link: Callable[[], str], check_page: Callable[[str], None]
) -> None:
    browser.go("/account/password-reset/")
    check_page("ask")
    browser.tab_to("email")
    browser.press("ada@example.com", Keys.ENTER)
    browser.arrive("/account/password-reset/done/")
    check_page("asked")
    browser.go(last_link())
    check_page("reset")
    browser.tab_to("new_password")
    browser.press("too short", Keys.TAB)
    browser.press("too short", Keys.ENTER)
    assert browser.execute_script("return document.activeElement.validity.tooShort")
    for _ in range(2):
        browser.press(Keys.CONTROL + "a")
        browser.press(WEAK, Keys.TAB)
    browser.press(Keys.ENTER)
    assert browser.error_of("new_password")
    check_page("reset-weak")
    browser.press(NEW, Keys.TAB)
    browser.press("something else entirely", Keys.ENTER)
    assert browser.error_of("new_password_again")
    browser.press(NEW, Keys.TAB)
    browser.press(NEW, Keys.ENTER)
    browser.arrive("/account/reset/done/")
    check_page("reset-done")


def test_reset_by_keyboard(browser: Browser, served: LiveServer, last_link: Callable[[], str]) -> None:
    make_creator("ada@example.com", display_name="Ada")
    reset_by_keyboard(browser, last_link, browser.check_page)
    assert can_sign_in(served, "ada@example.com", NEW)
    assert not can_sign_in(served, "ada@example.com", PASSWORD)


def test_confirmation_by_keyboard(browser: Browser, served: LiveServer, last_link: Callable[[], str]) -> None:
    served.post("register", {"email": "zoe@example.com", "password": PASSWORD})
    browser.go(last_link())
    browser.check_page("verify")
    browser.tab_to("password")
    browser.press("a wrong password", Keys.ENTER)
    assert browser.error_of("password")
    browser.check_page("verify-wrong")
    browser.press(PASSWORD, Keys.ENTER)
    browser.arrive("/account/verify-email/done/")
    assert browser.heading() == "Your email address is confirmed"
    browser.check_page("verified")
    assert can_sign_in(served, "zoe@example.com", PASSWORD)


def test_internationalized_domain_is_found(
    browser: Browser, served: LiveServer, last_link: Callable[[], str]
) -> None:
    make_creator("zoe@xn--bcher-kva.example")
    browser.go("/account/password-reset/")
    browser.tab_to("email")
    browser.press("zoe@bücher.example", Keys.ENTER)
    browser.arrive("/account/password-reset/done/")
    browser.go(last_link())
    assert mail.outbox[-1].to == ["zoe@xn--bcher-kva.example"]
    username = browser.find_element(By.NAME, "username")
    assert username.get_attribute("value") == "zoe@bücher.example"


def test_dead_link_offers_a_new_one(browser: Browser) -> None:
    browser.go("/account/reset/AaIFU1Hec22uYfeO5ffBVg/eVs7q5Q0sRYBn8AOUrEgUQ_1na0u39SnA-5zVwcs8nc/")
    browser.check_page("dead-link")
    browser.find_element(By.LINK_TEXT, "Get a new link").send_keys(Keys.ENTER)
    browser.arrive("/account/password-reset/")


@pytest.mark.parametrize("path", ["/account/nothing/", "/account/reset/done/", "/account/email-change/a/b/"])
def test_other_pages_pass_the_checks(browser: Browser, path: str) -> None:
    browser.go(path)
    browser.get_log("browser")  # discard Chromium's message about the 404
    browser.check_page(re.sub(r"\W+", "-", path.strip("/")))


def test_link_token_is_sent_to_no_other_host(
    browser: Browser, served: LiveServer, last_link: Callable[[], str]
) -> None:
    make_creator("ada@example.com")
    served.post("password/reset", {"email": "ada@example.com"})
    browser.go(last_link())
    sources = [
        element.get_attribute(name)
        for name in ("src", "href", "action")
        for element in browser.find_elements(By.CSS_SELECTOR, f"[{name}]")
    ]
    assert all(str(source).startswith((served.url, "None")) for source in sources)
    assert browser.find_elements(By.TAG_NAME, "script") == []


def test_reset_in_german_without_javascript(
    served: LiveServer, last_link: Callable[[], str], tmp_path: Path
) -> None:
    make_creator("ada@example.com")
    with browsing(served, tmp_path, language="de", script=False) as browser:
        headings: list[str] = []
        reset_by_keyboard(browser, last_link, lambda _name: headings.append(browser.heading()))
    assert headings[0] == "Passwort zurücksetzen"
    assert headings[-1] == "Ihr neues Passwort ist gespeichert"
    assert mail.outbox[0].subject == "Creator accounts: Neues Passwort wählen"
    assert can_sign_in(served, "ada@example.com", NEW)
