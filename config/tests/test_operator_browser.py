"""The admin's sign-in and operators in a real browser: phone and laptop, light and dark, by keyboard.

SCREENSHOTS=/some/directory saves a screenshot of each page.
"""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_otp.oath import hotp
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from config.launcher.process import wait_until
from config.tests.support.accounts import Person
from config.tests.support.browser import CONTRASTS, Browser, browsing, requires_chromium, served
from config.tests.support.live_server import LiveServer
from config.tests.support.operators import code_of, make_operator

pytestmark = [pytest.mark.slow, requires_chromium]

__all__ = ["served"]
PHONE, LAPTOP = (360, 740), (1280, 800)
REAUTHENTICATION = "/admin/confirm/"
VISIBLE = CONTRASTS.replace(".map(e =>", ".filter(e => e.checkVisibility()).map(e =>")


@pytest.fixture
def browser(served: LiveServer, tmp_path: Path) -> Iterator[Browser]:
    with browsing(served, tmp_path) as browser:
        yield browser


def check_page(browser: Browser, name: str) -> None:
    """Check layout, contrast, labels and the browser's log in both sizes and both colour schemes."""
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        time.sleep(0.3)  # links of Django fade from each colour to the other
        for width, height in (PHONE, LAPTOP):
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
            low_contrast = [found for found in browser.execute_script(VISIBLE) if found[2] < 4.5]
            assert low_contrast == [], (name, scheme, low_contrast)
            if directory := os.environ.get("SCREENSHOTS"):
                browser.save_screenshot(str(Path(directory) / f"{name}-{scheme}-{width}.png"))
    assert len(browser.find_elements(By.TAG_NAME, "main")) == 1
    for field in browser.find_elements(By.CSS_SELECTOR, "main input:not([type=hidden]):not([type=submit])"):
        labels = browser.find_elements(By.CSS_SELECTOR, f"label[for='{field.get_attribute('id')}']")
        assert labels or field.get_attribute("aria-label"), (name, field.get_attribute("name"))
    # errors of the Content-Security-Policy or of missing files; [DOM] is Chromium's advice on password fields
    logged = [entry["message"] for entry in browser.get_log("browser")]
    assert [line for line in logged if "[DOM]" not in line] == [], name


def give_password(browser: Browser, person: Person) -> None:
    browser.go("/admin/")
    browser.arrive("/admin/login/?next=/admin/")
    browser.press(person.email, Keys.TAB)
    browser.press(person.password, Keys.ENTER)


def verify_code(browser: Browser, code: str) -> None:
    browser.arrive("/admin/second-factor/?next=%2Fadmin%2F")
    browser.press(code, Keys.ENTER)


def press_button(browser: Browser, label: str) -> None:
    """Press Tab until the button or link with this text has the focus, then Enter."""
    for _ in range(40):
        focused = browser.switch_to.active_element
        if label.lower() in {focused.text.lower(), str(focused.get_attribute("value")).lower()}:
            focused.send_keys(Keys.ENTER)
            return
        browser.press(Keys.TAB)
    raise AssertionError(f"{label} can't be reached by keyboard")


def recovery_codes(browser: Browser) -> list[str]:
    assert wait_until(lambda: bool(browser.find_elements(By.CSS_SELECTOR, ".recovery-codes")), within=5)
    return [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".recovery-codes code")]


def reauthenticate(browser: Browser, person: Person) -> None:
    assert wait_until(lambda: REAUTHENTICATION in browser.current_url, within=5), browser.current_url
    browser.press(person.password, Keys.ENTER)


def test_new_operator_sets_up_the_second_factor_by_keyboard(browser: Browser) -> None:
    nora = make_operator("nora@example.com", "support", with_app=False)
    browser.go("/admin/")
    check_page(browser, "sign-in")
    give_password(browser, nora)
    browser.arrive("/admin/second-factor/set-up/?next=%2Fadmin%2F")
    image = browser.find_element(By.CSS_SELECTOR, "img.qr-code")
    assert int(str(image.get_property("naturalWidth"))) > 100
    check_page(browser, "set-up")
    browser.press("000000", Keys.ENTER)
    assert wait_until(lambda: browser.title.startswith("Error:"), within=5)
    assert browser.switch_to.active_element.get_attribute("aria-invalid") == "true"
    check_page(browser, "set-up-wrong")
    key = browser.find_element(By.CSS_SELECTOR, ".key").get_attribute("textContent")
    browser.press(f"{hotp(base64.b32decode(str(key)), int(time.time()) // 30):06}", Keys.ENTER)
    codes = recovery_codes(browser)
    assert len(codes) == 10
    check_page(browser, "recovery-codes")
    press_button(browser, "I have saved them")
    browser.arrive("/admin/")
    check_page(browser, "index-support")
    press_button(browser, "Log out")
    assert wait_until(lambda: browser.heading() == "Logged out", within=5)
    give_password(browser, nora)
    browser.arrive("/admin/second-factor/?next=%2Fadmin%2F")
    check_page(browser, "code")
    verify_code(browser, "AAAA-AAAA-AAAA-AAAA")
    assert wait_until(lambda: browser.title.startswith("Error:"), within=5)
    check_page(browser, "code-wrong")
    verify_code(browser, codes[0])
    browser.arrive("/admin/")


def test_operator_renews_recovery_codes_by_keyboard(browser: Browser) -> None:
    olga = make_operator("olga@example.com")
    give_password(browser, olga)
    verify_code(browser, code_of(olga))
    browser.arrive("/admin/")
    check_page(browser, "index")
    press_button(browser, "Second factor")
    browser.arrive("/admin/second-factor/")
    check_page(browser, "second-factor")
    press_button(browser, "New recovery codes")
    assert wait_until(lambda: REAUTHENTICATION in browser.current_url, within=5)
    check_page(browser, "confirm")
    reauthenticate(browser, olga)
    browser.arrive("/admin/second-factor/")
    assert "Please repeat the action" in browser.find_element(By.CSS_SELECTOR, ".messagelist").text
    press_button(browser, "New recovery codes")
    assert len(recovery_codes(browser)) == 10


def test_superuser_changes_a_role_by_keyboard(browser: Browser) -> None:
    olga, sam = make_operator("olga@example.com"), make_operator("sam@example.com", "support")
    give_password(browser, olga)
    verify_code(browser, code_of(olga))
    browser.arrive("/admin/")
    browser.go("/admin/accounts/operator/")
    check_page(browser, "operators")
    browser.find_element(By.LINK_TEXT, sam.email).send_keys(Keys.ENTER)
    reauthenticate(browser, olga)
    browser.arrive(f"/admin/accounts/operator/{sam.id}/change/")
    check_page(browser, "operator")
    browser.find_element(By.CSS_SELECTOR, "input[name=role]:checked").send_keys(Keys.ARROW_DOWN)
    press_button(browser, "Save")
    browser.arrive("/admin/accounts/operator/")
    row = browser.find_element(By.XPATH, f"//tr[.//a[text()='{sam.email}']]")
    assert "security" in row.text
    check_page(browser, "operators-changed")
    browser.go("/admin/axes/accessattempt/")
    check_page(browser, "locks")
