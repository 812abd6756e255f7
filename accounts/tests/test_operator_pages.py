"""The admin's pages of creators in a real browser: small and large, light and dark, by keyboard.

SCREENSHOTS=/some/directory saves a screenshot of each page.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from accounts.services import api_keys
from accounts.tests.support.creator_pages import LIST, REASON, page_of
from accounts.tests.support.flows import log_in
from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.browser import CONTRASTS, Browser, browsing, requires_chromium
from config.tests.support.client import API
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server
from config.tests.support.operators import code_of, make_operator
from tenancy.context import OPERATOR, using_alias

pytestmark = [pytest.mark.slow, requires_chromium]

SCREENS = (390, 844), (1280, 900)
CREATOR_CONTRASTS = CONTRASTS.replace("body *", ".creator *")
SMALL_TARGETS = """
return [...document.querySelectorAll('.creator :is(.button, input:not([type=hidden]))')]
  .map(e => e.getBoundingClientRect()).filter(box => box.height < 44).length;
"""


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with run_server(tmp_path_factory.mktemp("creators"), workers=1, **NO_LIMITS) as service:
        yield service


@pytest.fixture
def browser(served: LiveServer, tmp_path: Path) -> Iterator[Browser]:
    """Olga, signed in with both factors."""
    olga = make_operator("olga@staff.example")
    with browsing(served, tmp_path) as browser:
        browser.go(LIST)
        browser.find_element(By.NAME, "username").send_keys(olga.email)
        browser.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)
        assert wait_until(lambda: bool(browser.find_elements(By.NAME, "credential")), within=5)
        browser.find_element(By.NAME, "credential").send_keys(code_of(olga), Keys.ENTER)
        browser.arrive(LIST)
        yield browser


@pytest.fixture
def ada_with_history(browser: Browser) -> Person:
    """Ada, with a session and a lockout."""
    ada = sign_in(make_creator("ada.lovelace-with-a-long-name@studio.example", display_name="Ada Lovelace"))
    for number in range(8):
        make_creator(f"creator-{number}@studio.example", display_name=f"Creator {number}")
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
    API().post("login", {"email": ada.email, "password": PASSWORD}, **agent)
    for _ in range(5):
        log_in(API(), ada.email, "wrong")
    return ada


def low_contrast(browser: Browser) -> list[object]:
    """Elements with too little contrast. Links of Django fade from one colour to the other."""
    return [found for found in browser.execute_script(CREATOR_CONTRASTS) if found[2] < 4.5]


def check_page(browser: Browser, name: str) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for width, height in SCREENS:
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            if directory := os.environ.get("SCREENSHOTS"):
                whole = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                Path(directory, f"{name}-{scheme}-{width}.png").write_bytes(base64.b64decode(whole["data"]))
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
            assert wait_until(lambda: low_contrast(browser) == [], within=2), (
                scheme,
                name,
                low_contrast(browser),
            )
            assert browser.execute_script(SMALL_TARGETS) == 0, name
    assert browser.heading()
    # errors of the Content-Security-Policy or of missing files; [DOM] is Chromium's advice on password fields
    logged = [entry["message"] for entry in browser.get_log("browser")]
    assert [line for line in logged if "[DOM]" not in line] == []


def test_account_is_deactivated_by_keyboard(browser: Browser, ada_with_history: Person) -> None:
    for _ in range(40):
        if browser.switch_to.active_element.get_attribute("name") != "q":
            browser.press(Keys.TAB)
    browser.press("lovelace", Keys.ENTER)
    assert wait_until(lambda: "q=lovelace" in browser.current_url, within=5)
    check_page(browser, "search")
    browser.find_element(By.LINK_TEXT, ada_with_history.email).send_keys(Keys.ENTER)
    browser.arrive(page_of(ada_with_history))
    check_page(browser, "justification")
    assert browser.switch_to.active_element.get_attribute("name") == "reason"
    browser.press("short", Keys.ENTER)
    wrong = "[name=reason][aria-invalid=true]"
    assert wait_until(lambda: bool(browser.find_elements(By.CSS_SELECTOR, wrong)), within=5)
    check_page(browser, "justification-wrong")
    browser.find_element(By.NAME, "reason").clear()
    browser.find_element(By.NAME, "reason").send_keys(REASON, Keys.ENTER)
    assert wait_until(lambda: ada_with_history.email in browser.heading(), within=5)
    check_page(browser, "detail")
    browser.find_element(By.LINK_TEXT, "Deactivate").send_keys(Keys.ENTER)
    assert wait_until(lambda: bool(browser.find_elements(By.NAME, "credential")), within=5)
    browser.find_element(By.NAME, "credential").send_keys(PASSWORD, Keys.ENTER)
    browser.arrive(f"{LIST}{ada_with_history.id}/deactivate/")
    check_page(browser, "deactivate")
    browser.find_element(By.CSS_SELECTOR, ".creator input[type=submit]").send_keys(Keys.ENTER)
    browser.arrive(page_of(ada_with_history))
    assert "Deactivated" in browser.find_element(By.CSS_SELECTOR, ".states").text
    check_page(browser, "deactivated")
    browser.find_element(By.LINK_TEXT, "Delete the account").send_keys(Keys.ENTER)
    browser.arrive("/delete/")
    browser.find_element(By.NAME, "typed").send_keys("someone@else.example", Keys.ENTER)
    assert wait_until(lambda: bool(browser.find_elements(By.CSS_SELECTOR, "[aria-invalid=true]")), within=5)
    check_page(browser, "delete-wrong")


def test_key_is_revoked_by_keyboard(browser: Browser) -> None:
    with using_alias(OPERATOR):
        for name in ("the shop", "the app of a partner"):
            api_keys.create_api_key(name)
    browser.go("/admin/accounts/apikey/")
    check_page(browser, "keys")
    browser.find_element(By.LINK_TEXT, "Revoke").send_keys(Keys.ENTER)
    assert wait_until(lambda: bool(browser.find_elements(By.NAME, "credential")), within=5)
    browser.find_element(By.NAME, "credential").send_keys(PASSWORD, Keys.ENTER)
    browser.arrive("/revoke/")
    check_page(browser, "revoke")
