"""An unknown method gets 405, also from pages: before the CSRF check."""

import pytest

from config.tests.support.client import API


@pytest.mark.parametrize(
    "path", ["/account/password-reset/", "/healthz", "/readyz", "/.well-known/jwks.json"]
)
def test_unknown_methods_are_not_allowed(transactional_db: None, path: str) -> None:
    browser = API(raise_request_exception=False, enforce_csrf_checks=True)
    assert browser.generic("FOO", path).status_code == 405
    assert browser.generic("POST", path).status_code == (403 if "account" in path else 405)
    assert browser.generic("GET", path).status_code == 200
