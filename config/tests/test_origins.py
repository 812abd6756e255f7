"""Every spelling of PUBLIC_URL gives the same origin, and the service works in a browser."""

import os
import re
from types import ModuleType
from typing import Any

import pytest
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client

from config.launcher.instance import read_instance
from config.tests.support.settings import load_settings

# PUBLIC_URL → normal origin, and Host and Origin as a browser sends them
SPELLINGS = {
    "https://accounts.example": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "HTTPS://Accounts.EXAMPLE/": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "https://accounts.example:443": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "https://accounts.example:0443//": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "https://accounts.example:": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "https://accounts.example.": ("https://accounts.example", "accounts.example.", "https://accounts.example."),
    "https://accounts.example:8443": (
        "https://accounts.example:8443", "accounts.example:8443", "https://accounts.example:8443"
    ),
    "https://B\u00fccher.example": ("https://xn--bcher-kva.example", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    "https://stra\u00dfe.example:444": (
        "https://xn--strae-oqa.example:444", "xn--strae-oqa.example:444", "https://xn--strae-oqa.example:444"
    ),
    "https://xn--bcher-kva.example": (
        "https://xn--bcher-kva.example", "xn--bcher-kva.example", "https://xn--bcher-kva.example"
    ),
    "https://\uff41ccounts\u3002example": ("https://accounts.example", "accounts.example", "https://accounts.example"),
    "https://[2001:DB8:0:0::1]": ("https://[2001:db8::1]", "[2001:db8::1]", "https://[2001:db8::1]"),
    "https://[2001:db8::1]:8443": ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    "https://192.0.2.1": ("https://192.0.2.1", "192.0.2.1", "https://192.0.2.1"),
    "http://LOCALHOST:80": ("http://localhost", "localhost", "http://localhost"),
    "http://localhost.:8000": ("http://localhost:8000", "localhost.:8000", "http://localhost.:8000"),
    "http://[0:0:0:0:0:0:0:1]:8000": ("http://[::1]:8000", "[::1]:8000", "http://[::1]:8000"),
}  # fmt: skip
DEPENDENT_SETTINGS = (
    "PUBLIC_URL", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "JWT_ISSUER", "JWT_AUDIENCE", "CSRF_COOKIE_SECURE",
)  # fmt: skip


@pytest.fixture(params=SPELLINGS)
def spelling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def found(settings: Any, spelling: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        module = load_settings(patch, PUBLIC_URL=spelling)
    for name in DEPENDENT_SETTINGS:
        setattr(settings, name, getattr(module, name))
    return module


def test_each_spelling_is_normalized(found: ModuleType, spelling: str) -> None:
    origin, _, _ = SPELLINGS[spelling]
    assert origin == found.PUBLIC_URL == found.JWT_ISSUER == found.JWT_AUDIENCE
    assert [origin] == found.CSRF_TRUSTED_ORIGINS
    assert origin.startswith("https:") == found.CSRF_COOKIE_SECURE


@pytest.mark.parametrize("reports_https", [False, True])
def test_form_and_readiness_work_for_a_browser(
    monkeypatch: pytest.MonkeyPatch, found: ModuleType, spelling: str, reports_https: bool
) -> None:
    """With and without a proxy that reports https. Without, a Host with a final dot is not recognized."""
    normal, host, origin = SPELLINGS[spelling]
    trusted = property(lambda _: set(found.CSRF_TRUSTED_ORIGINS))
    monkeypatch.setattr(CsrfViewMiddleware, "allowed_origins_exact", trusted)  # a cached property
    is_secure = normal.startswith("https:") and reports_https
    if not is_secure:
        host, origin = host.replace(".:", ":").removesuffix("."), normal
    browser = Client(enforce_csrf_checks=True)
    headers = {"Host": host, "Origin": origin, "Referer": f"{origin}/account/password-reset/"}
    page = browser.get("/account/password-reset/", headers={"Host": host}, secure=is_secure)
    assert page.status_code == 200
    assert browser.get("/readyz", headers={"Host": host}, secure=is_secure).status_code == 200
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    assert token
    form = {"email": "ada@example.com", "csrfmiddlewaretoken": token[1]}
    response = browser.post("/account/password-reset/", form, headers=headers, secure=is_secure)
    assert (response.status_code, response["Location"]) == (302, "/account/password-reset/done/")


def test_launcher_sends_the_public_host(
    monkeypatch: pytest.MonkeyPatch, found: ModuleType, spelling: str
) -> None:
    origin, _, _ = SPELLINGS[spelling]
    monkeypatch.setattr(os, "environ", {"PUBLIC_URL": spelling, "PATH": os.environ["PATH"]})
    assert f"{origin.partition('://')[0]}://{read_instance().host_header}" == origin


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", "127.0.0.2", "0:0:0:0:0:0:0:1"])
def test_launcher_sends_an_allowed_host(monkeypatch: pytest.MonkeyPatch, settings: Any, host: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        settings.ALLOWED_HOSTS = load_settings(patch, HOST=host).ALLOWED_HOSTS
    monkeypatch.setattr(os, "environ", {"HOST": host})
    ready = Client().get("/readyz", headers={"Host": read_instance().host_header})
    assert ready.status_code == 200
