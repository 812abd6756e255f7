"""The pages as people use them: Debian's Chromium, the keyboard, the running service."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from config.tests.fixtures import Person
from config.tests.serving import Served, serving

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver are not installed"
    ),
    pytest.mark.slow,
]
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
NEW_PASSWORD = "eleven lanterns below a quiet harbour"


@pytest.fixture
def served(tmp_path: Path, transactional_db: None) -> Iterator[Served]:
    with serving(tmp_path, workers=1) as service:
        yield service


@pytest.fixture
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    language = getattr(request, "param", "en")
    for flag in (
        *FLAGS,
        f"--user-data-dir={tmp_path / 'chromium'}",
        "--window-size=390,844",
        f"--lang={language}",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    complaints = [
        line["message"] for line in driver.get_log("browser") if "Content Security" in line["message"]
    ]
    driver.quit()
    assert complaints == []


@pytest.fixture
def mails(settings: Any) -> list[Any]:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    return mail.outbox


def press(browser: webdriver.Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def tab_to(browser: webdriver.Chrome, name: str) -> None:
    """By the keyboard alone, to the field or button of this name or text."""
    for _ in range(12):
        focused = browser.switch_to.active_element
        if name in {focused.get_attribute("name"), focused.text}:
            return
        press(browser, Keys.TAB)
    pytest.fail(f"the keyboard does not reach {name}")


def arrive(browser: webdriver.Chrome, end: str) -> None:
    WebDriverWait(browser, 10).until(lambda found: found.current_url.endswith(end))


def complaint(browser: webdriver.Chrome, name: str) -> WebElement:
    """The field of this name, once the page says that it is wrong."""
    where = (By.CSS_SELECTOR, f"[name={name}][aria-invalid=true]")
    return WebDriverWait(browser, 10).until(lambda found: found.find_element(*where))


def heading(browser: webdriver.Chrome) -> str:
    (found,) = browser.find_elements(By.TAG_NAME, "h1")
    return found.text


def is_accessible(browser: webdriver.Chrome) -> None:
    """Every field has a label, no script runs, and the page names its language."""
    assert browser.find_elements(By.TAG_NAME, "script") == []
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang")
    for field in browser.find_elements(By.CSS_SELECTOR, "input:not([type=hidden])"):
        label = browser.find_element(By.CSS_SELECTOR, f"label[for='{field.get_attribute('id')}']")
        assert label.text


def link_path(message: Any, page: str) -> str:
    found = re.search(rf"/account/{page}/[^/\s]+/[^/\s]+/", str(message.body))
    assert found
    return found[0]


def test_reset_by_keyboard(
    served: Served, browser: webdriver.Chrome, ada: Person, mails: list[Any], run_jobs: Any
) -> None:
    browser.get(f"{served.url}/account/password-reset/")
    is_accessible(browser)
    tab_to(browser, "email")
    press(browser, ada.email, Keys.ENTER)
    arrive(browser, "/account/password-reset/done/")
    run_jobs()
    browser.get(served.url + link_path(mails[0], "reset"))
    is_accessible(browser)
    tab_to(browser, "new_password")
    press(browser, "short", Keys.TAB, "other", Keys.ENTER)
    wrong = complaint(browser, "new_password_again")
    described = str(wrong.get_attribute("aria-describedby")).split()
    assert any("not the same" in browser.find_element(By.ID, one).text for one in described)
    assert browser.find_element(By.CSS_SELECTOR, "[role=alert]").is_displayed()
    tab_to(browser, "new_password")
    press(browser, NEW_PASSWORD, Keys.TAB, NEW_PASSWORD, Keys.ENTER)
    arrive(browser, "/account/reset/done/")
    assert served.post("login", {"email": ada.email, "password": NEW_PASSWORD}).status == 200
    assert served.post("login", {"email": ada.email, "password": ada.password}).status == 401


def test_sign_up_confirmed_by_keyboard(
    served: Served, browser: webdriver.Chrome, mails: list[Any], run_jobs: Any
) -> None:
    served.post("register", {"email": "zoe@example.com", "password": NEW_PASSWORD})
    run_jobs()
    browser.get(served.url + link_path(mails[0], "verify-email"))
    is_accessible(browser)
    tab_to(browser, "password")
    press(browser, "wrong", Keys.ENTER)
    complaint(browser, "password")
    tab_to(browser, "password")
    press(browser, NEW_PASSWORD, Keys.ENTER)
    arrive(browser, "/account/verify-email/done/")
    assert served.post("login", {"email": "zoe@example.com", "password": NEW_PASSWORD}).status == 200


@pytest.mark.parametrize("browser", ["de"], indirect=True)
def test_pages_speak_german(served: Served, browser: webdriver.Chrome) -> None:
    browser.get(f"{served.url}/account/password-reset/")
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "de"
    assert "Passwort" in heading(browser)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out(served: Served, browser: webdriver.Chrome, width: int) -> None:
    browser.set_window_size(width, 844)
    browser.get(f"{served.url}/account/password-reset/")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
