"""The audit log in a real browser: screen sizes, colour schemes, keyboard and accessibility tree.

SCREENSHOTS=/some/directory saves a screenshot of each page.
"""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD
from config.tests.support.browser import CONTRASTS, Browser, browsing, requires_chromium
from config.tests.support.dataset import populate_audit_log
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server
from config.tests.support.operators import code_of, make_operator

pytestmark = [pytest.mark.slow, requires_chromium]

LIST = "/admin/audit/auditlog/"
SCREENS = (390, 844), (1280, 900)


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with run_server(tmp_path_factory.mktemp("audit"), workers=1, **NO_LIMITS) as service:
        yield service


@pytest.fixture
def browser(served: LiveServer, tmp_path: Path, superuser: psycopg.Connection) -> Iterator[Browser]:
    """Olga's browser, signed in, with a week of events."""
    olga = make_operator("olga@example.com")
    populate_audit_log(superuser, events=4000)
    superuser.execute("ANALYZE audit_logs, audit_personal_data")
    with browsing(served, tmp_path) as browser:
        browser.go("/admin/login/")
        browser.find_element(By.NAME, "username").send_keys("olga@example.com")
        browser.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)
        browser.arrive("/admin/second-factor/?next=%2Fadmin%2F")
        browser.find_element(By.NAME, "credential").send_keys(code_of(olga), Keys.ENTER)
        browser.arrive("/admin/")
        yield browser


def assert_page_fits_and_is_readable(browser: Browser, name: str) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for width, height in SCREENS:
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
            time.sleep(0.3)  # the admin's link colours have a transition
            texts = browser.execute_script(CONTRASTS.replace("body *", ".audit-log *"))
            assert [text for text in texts if text[2] < 4.5] == [], (scheme, name)
            if directory := os.environ.get("SCREENSHOTS"):
                image = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                Path(directory, f"{name}-{scheme}-{width}.png").write_bytes(base64.b64decode(image["data"]))
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in messages if " 400 " not in message] == []


def test_pages_on_every_screen(browser: Browser) -> None:
    for name, path in {
        "list": LIST,
        "list-filtered": f"{LIST}?type=login.failed&address=198.51.100.0/24",
        "list-wrong": f"{LIST}?address=1.2.3&type=x",
        "list-empty": f"{LIST}?address=192.0.2.1",
        "overview": f"{LIST}overview/",
    }.items():
        browser.go(path)
        assert browser.heading()
        assert_page_fits_and_is_readable(browser, name)
    browser.go(LIST)
    browser.find_element(By.CSS_SELECTOR, ".events tbody th a").send_keys(Keys.ENTER)
    assert_page_fits_and_is_readable(browser, "detail")


def test_search_and_pages_by_keyboard(browser: Browser) -> None:
    browser.go(LIST)
    browser.find_element(By.NAME, "address").send_keys("198.51.100.0/24", Keys.ENTER)
    assert "address=198.51.100.0" in browser.current_url
    first = rows(browser)
    browser.find_element(By.CSS_SELECTOR, "a[rel=next]").send_keys(Keys.ENTER)
    assert "older=" in browser.current_url
    assert "address=198.51.100.0" in browser.current_url
    assert not set(first) & set(rows(browser))
    browser.find_element(By.CSS_SELECTOR, "a[rel=prev]").send_keys(Keys.ENTER)
    assert rows(browser) == first


def rows(browser: Browser) -> list[str]:
    links = browser.find_elements(By.CSS_SELECTOR, ".events tbody th a")
    return [str(link.get_attribute("href")) for link in links]


def test_charts_are_coloured_and_named(browser: Browser) -> None:
    """If the Content-Security-Policy blocked the colours, the bars would be black."""
    browser.go(f"{LIST}overview/")
    failed = browser.find_element(By.CSS_SELECTOR, "#day-title ~ path.failed")
    assert failed.size["height"] > 5
    assert failed.value_of_css_property("fill") not in {"rgb(0, 0, 0)", "none"}
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "image"]
    assert any(name.startswith("Sign-ins by hour, last 24 hours At most") for name in names)


def test_export_is_downloaded_after_reauthentication(browser: Browser, tmp_path: Path) -> None:
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.go(f"{LIST}?type=token.reused")
    browser.find_element(By.CSS_SELECTOR, "button[value=csv]").send_keys(Keys.ENTER)
    assert wait_until(lambda: "/admin/confirm/" in browser.current_url, within=5)
    browser.find_element(By.NAME, "credential").send_keys(PASSWORD, Keys.ENTER)
    browser.arrive(f"{LIST}?type=token.reused")
    assert not list(tmp_path.glob("audit-*.csv"))
    browser.find_element(By.CSS_SELECTOR, "button[value=csv]").send_keys(Keys.ENTER)
    assert wait_until(lambda: bool(list(tmp_path.glob("audit-*.csv"))), within=5)
    lines = next(tmp_path.glob("audit-*.csv")).read_text().splitlines()
    assert len(lines) > 10
    assert all("token.reused" in line for line in lines[1:])
