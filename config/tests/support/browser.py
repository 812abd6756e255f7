"""Drives Chromium by keyboard against a running server, and checks what every page must fulfil."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from config.launcher.process import wait_until
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server

CHROMIUM, DRIVER = (
    shutil.which(name, path=f"{os.environ['PATH']}:/usr/lib/chromium")
    for name in ("chromium", "chromedriver")
)
requires_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="chromium is not installed (Debian: apt install chromium chromium-driver)",
)
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
    "--hide-scrollbars",
]
PHONE, DESKTOP = (320, 740), (1280, 900)
# Tag, text and contrast with the background (WCAG 2.2, 1.4.3) of each element that contains text.
CONTRASTS = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = e => { for (; e; e = e.parentElement) {
  const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
return [...document.querySelectorAll('body *')]
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
  .map(e => { const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return [e.tagName, e.textContent.trim().slice(0, 40), (a + 0.05) / (b + 0.05)]; });
"""
FOCUS_RING = """
const style = getComputedStyle(document.activeElement);
return [style.outlineStyle, parseFloat(style.outlineWidth)];
"""


class Browser(Chrome):
    served: LiveServer

    def go(self, path: str) -> None:
        self.get(self.served.url + path)

    def press(self, *keys: str) -> None:
        """Type into the focused element."""
        self.switch_to.active_element.send_keys(*keys)

    def tab_to(self, name: str) -> None:
        """Press Tab until the field of that name has the focus; each focused element must show a focus ring."""
        for _ in range(10):
            if self.switch_to.active_element.get_attribute("name") == name:
                return
            self.press(Keys.TAB)
            style, width = self.execute_script(FOCUS_RING)
            assert style != "none"
            assert width >= 2
        raise AssertionError(f"{name} is not reachable by keyboard")

    def arrive(self, path: str) -> None:
        assert wait_until(lambda: self.current_url.endswith(path), within=5), self.current_url

    def heading(self) -> str:
        (heading,) = self.find_elements(By.TAG_NAME, "h1")
        return heading.text

    def check_page(self, name: str) -> None:
        """Check what every page must fulfil, in both sizes and both colour schemes."""
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            for width, height in (PHONE, DESKTOP):
                screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                assert self.execute_script("return document.documentElement.scrollWidth") <= width
                low = [element for element in self.execute_script(CONTRASTS) if element[2] < 4.5]
                assert low == [], (scheme, low)
                if directory := os.environ.get("SCREENSHOTS"):
                    self.save_screenshot(str(Path(directory) / f"{name}-{scheme}-{width}.png"))
        self._check_structure()

    def _check_structure(self) -> None:
        assert self.heading()
        assert len(self.find_elements(By.TAG_NAME, "main")) == 1
        assert self.find_element(By.TAG_NAME, "html").get_attribute("lang") in {"en", "de"}
        for field in self.find_elements(By.CSS_SELECTOR, "input:not([type=hidden])"):
            assert self.find_elements(By.CSS_SELECTOR, f"label[for='{field.get_attribute('id')}']")
            for described in (field.get_attribute("aria-describedby") or "").split():
                assert self.find_element(By.ID, described).text
        for target in self.find_elements(By.CSS_SELECTOR, "input:not([type=hidden]), .button"):
            assert target.size["height"] >= 44
        # Chromium logs violations of the Content-Security-Policy, missing files and passwords without username.
        # It also logs our 400 responses, which are expected.
        messages = [entry["message"] for entry in self.get_log("browser")]
        assert [message for message in messages if " 400 " not in message] == []

    def error_of(self, name: str) -> str:
        """The error message of a field that is marked as invalid."""
        invalid = f"[name='{name}'][aria-invalid=true]"
        assert wait_until(lambda: bool(self.find_elements(By.CSS_SELECTOR, invalid)), within=5)
        field = self.find_element(By.CSS_SELECTOR, invalid)
        described = str(field.get_attribute("aria-describedby")).split()
        assert self.title.startswith(("Error:", "Fehler:"))
        summary = self.find_element(By.CSS_SELECTOR, "[role=alert]")
        assert summary.find_elements(By.CSS_SELECTOR, f"a[href='#{field.get_attribute('id')}']")
        return self.find_element(By.ID, described[-1]).text


@contextmanager
def browsing(
    served: LiveServer, profile: Path, *, language: str = "en", script: bool = True
) -> Iterator[Browser]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    prefs: dict[str, Any] = {"intl.accept_languages": language}
    if not script:
        prefs["profile.managed_default_content_settings.javascript"] = 2
    options.add_experimental_option("prefs", prefs)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Browser(options, ChromeService(DRIVER))
    browser.served = served
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with run_server(tmp_path_factory.mktemp("pages"), workers=1, **NO_LIMITS) as service:
        yield service
