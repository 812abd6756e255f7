"""Defaults of the settings, and the one-line error for a malformed one."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.tests.support.environment import ROOT
from config.tests.support.settings import load_settings

pytestmark = pytest.mark.no_database

NUMBERS = [
    "PORT",
    "TRUSTED_PROXY_COUNT",
    "PASSWORD_MIN_LENGTH",
    "ARGON2_MEMORY_COST",
    "ARGON2_TIME_COST",
    "ARGON2_PARALLELISM",
    "BCRYPT_ROUNDS",
    "PASSWORD_RESET_TOKEN_EXPIRE_MINUTES",
    "MAX_FAILED_LOGIN_ATTEMPTS",
    "ACCOUNT_LOCKOUT_DURATION_MINUTES",
    "EMAIL_VERIFICATION_TOKEN_EXPIRE_HOURS",
    "JWT_KEY_ROTATION_DAYS",
    "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
    "JWT_REFRESH_TOKEN_EXPIRE_DAYS",
    "JWT_REFRESH_GRACE_SECONDS",
    "SESSION_IDLE_EXPIRE_DAYS",
    "MAX_SESSIONS_PER_CREATOR",
    "END_USER_SESSION_EXPIRE_HOURS",
]
RATES = [
    "LOGIN",
    "REGISTER",
    "EMAIL_VERIFY",
    "EMAIL_VERIFY_RESEND",
    "PASSWORD_RESET",
    "PASSWORD_RESET_CONFIRM",
    "PASSWORD_CHANGE",
    "PASSWORD_VALIDATE",
    "REFRESH",
    "END_USER_SESSION",
    "DEFAULT",
]
BAD_URLS = ("rubbish", "mysql://u:p@h/d", "postgres://h/d", "postgres://u:p@h:x/d", "postgres://u:p@h:99999999/d",
            "postgres://u:p@h/")  # fmt: skip
MALFORMED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(NUMBERS, ("x", "1.5", "-1", "1e3", "1_000", "\u0663", "9" * 30, "1 2", "0x10")),
    **{f"RATE_LIMIT_{scope}": ("10", "0/m", "-1/m", "10/x", "m", "10/m/s", "1.5/m", "\u0663/m") for scope in RATES},
    **dict.fromkeys(
        ("DEBUG", "REQUIRE_EMAIL_VERIFICATION", "HIBP_ENABLED", "METRICS_FROM_LOOPBACK"),
        ("x", "2", "tru", "yes please"),
    ),
    **dict.fromkeys(("DATABASE_URL", "OPERATOR_DATABASE_URL", "OWNER_DATABASE_URL"), BAD_URLS),
    "AUDIT_RETENTION_MONTHS": ("x", "1.5", "-1", "1", "2", "1201"),
    "WORKER_THREADS": ("x", "2", "1.5", "1001"),
    "SECRET_KEY": ("short", "x" * 31),
    "HOST": ("a b", "http://x", "/"),
    "LOG_LEVEL": ("x", "info", "10"),
    "PUBLIC_URL": ("x", "ftp://x", "https://", "https://h/path", "https://h?q", "https://h#f", "https://u:p@h",
                   "https://h:99999999", "https://h:x", "http://example.com", "https://a b", "http://[::1",
                   "https://h:0", "https://a_b.example", "https://-a.example", "https://a..example", "https://1.2.3",
                   "https://0x7f.1", "https://999.1.1.1", "https://[fe80::1%25eth0]", "https://[1.2.3.4]", "https://.",
                   "https://exa%6dple.com", "https://xn\u2014.example", "https://\u00fc_.example", "http://127.1",
                   "https://" + "a" * 64 + ".example", "https://h\\x", "https:/h", "//h", "https://h\n.x"),
    "ALLOWED_HOSTS": ("http://x", "a b", "x/y", "a,b c"),
    "CORS_ALLOWED_ORIGINS": ("x", "https://x/", "*", "https://x/path", "ftp://x", "https://x,rubbish"),
    "HIBP_API_URL": ("x", "ftp://x", "https://", "https://h:x"),
    "HIBP_TIMEOUT_SECONDS": ("x", "0", "-1", "nan", "inf", "1e9"),
    "REDIS_URL": ("x", "http://x", "redis://", "redis://h:x"),
    "EMAIL_URL": ("x", "http://x", "smtp://", "smtp://h:x", "smtp+foo://h", "SMTPX://h", "dummymail://", "filemail:///x",
                  "smtp://h?ssl=true", "smtp://h/path", "smtp://h#f", "smtp://user@h", "smtp://:word@h",
                  "smtp://u:%C3%BC@h", "smtp://u:p#q@h", "smtp://u:p/q@h", "smtp://a b"),
    **dict.fromkeys(("EMAIL_FROM", "EMAIL_REPLY_TO"), (
        "x", "@x.example", "a@", "a b@x.example", "a@x.example,b@x.example", "A <a@x.example", "a@x.example>",
        "A <a@x.example> b", "A <a@x.example>, B <b@x.example>", "A a@x.example", "A <ü@x.example>", "a@x..example",
        'A "B" <a@x.example>', "A\u202eB <a@x.example>", "A\nB <a@x.example>", f"{'A' * 65} <a@x.example>")),
    "EMAIL_HELO": ("a b", "x/y", "-x", "http://x", "[x y]", "x_y", "ü.example"),
    "JWT_ALGORITHM": ("HS256", "none", "rs256", "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_setting_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for value in MALFORMED[name]:
        with pytest.raises(ImproperlyConfigured) as caught:
            load_settings(monkeypatch, **{name: value})
        message = str(caught.value)
        assert re.fullmatch(rf"{name} takes [^\n]+", message), (value, message)


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL"])
def test_missing_setting_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} is not set[^\n]+make run[^\n]+$"):
        load_settings(monkeypatch, **{name: ""})


def test_every_setting_of_the_environment_is_in_the_table() -> None:
    """Every variable that the settings read is in MALFORMED, except free text."""
    text = (ROOT / "config" / "settings.py").read_text() + (ROOT / "config" / "environment.py").read_text()
    read = set(re.findall(r'\b(?:env|self)\.(?:\w+)\(\s*"([A-Z][A-Z0-9_]+)"', text)) - {"DATA_DIR"}
    free = {"JWT_ISSUER", "JWT_AUDIENCE", "JWT_SECRET_KEY", "JWT_RETIRED_KEYS"}  # keys: test_signing_keys.py
    assert read - free <= set(MALFORMED)


def test_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_settings(monkeypatch)
    expected = {
        "DEBUG": False, "HOST": "127.0.0.1", "PORT": 8000, "PUBLIC_URL": "http://127.0.0.1:8000",
        "TRUSTED_PROXY_COUNT": 0, "PASSWORD_MIN_LENGTH": 15, "ARGON2_MEMORY_COST": 65536, "ARGON2_TIME_COST": 3,
        "ARGON2_PARALLELISM": 4, "BCRYPT_ROUNDS": 12, "HIBP_ENABLED": True, "HIBP_TIMEOUT_SECONDS": 1,
        "MAX_FAILED_LOGIN_ATTEMPTS": 5, "ACCOUNT_LOCKOUT_DURATION": timedelta(minutes=30),
        "PASSWORD_RESET_TOKEN_LIFETIME": timedelta(minutes=15), "REQUIRE_EMAIL_VERIFICATION": True,
        "EMAIL_VERIFICATION_TOKEN_LIFETIME": timedelta(hours=24), "END_USER_SESSION_LIFETIME": timedelta(hours=24),
        "JWT_ALGORITHM": "RS256", "JWT_SECRET_KEY": "", "JWT_KEY_ROTATION": timedelta(days=90),
        "JWT_ACCESS_TOKEN_LIFETIME": timedelta(minutes=60), "JWT_REFRESH_TOKEN_LIFETIME": timedelta(days=30),
        "JWT_REFRESH_GRACE": timedelta(seconds=10), "SESSION_IDLE_LIFETIME": timedelta(0),
        "MAX_SESSIONS_PER_CREATOR": 0, "AUDIT_RETENTION_MONTHS": 0, "SERVES_ADMIN": False, "CORS_ALLOWED_ORIGINS": [],
        "EMAIL_FILE_PATH": Path("/nonexistent/data/mail"), "CSRF_COOKIE_SECURE": False, "SECURE_HSTS_SECONDS": 0,
    }  # fmt: skip
    assert {name: getattr(loaded, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("scheme", "port", "tls", "ssl"),
    [
        ("smtp", 25, False, False),
        ("smtp+tls", 587, True, False),
        ("smtp+starttls", 587, True, False),
        ("smtps", 465, False, True),
        ("smtp+ssl", 465, False, True),
    ],
)
def test_scheme_of_email_url_selects_port_and_tls(
    monkeypatch: pytest.MonkeyPatch, scheme: str, port: int, tls: bool, ssl: bool
) -> None:
    loaded = load_settings(monkeypatch, EMAIL_URL=f"{scheme}://us%40acme:p%3A%2F%40+%25@mail.acme.example")
    assert ("mail.acme.example", port) == (loaded.EMAIL_HOST, loaded.EMAIL_PORT)
    assert (loaded.EMAIL_HOST_USER, loaded.EMAIL_HOST_PASSWORD) == ("us@acme", "p:/@+%")
    assert getattr(loaded, "EMAIL_USE_TLS", False) is tls
    assert getattr(loaded, "EMAIL_USE_SSL", False) is ssl
    assert load_settings(monkeypatch, EMAIL_URL=f"{scheme}://[::1]:2525/").EMAIL_PORT == 2525


def test_error_of_email_url_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("smtp://u:s3cret@h?x=y", "smtp://u:s3cret#@h", "smtpx://u:s3cret@h"):
        with pytest.raises(ImproperlyConfigured) as caught:
            load_settings(monkeypatch, EMAIL_URL=url)
        assert "s3cret" not in str(caught.value)


def test_default_sender_has_the_public_host(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_settings(monkeypatch, PUBLIC_URL="https://accounts.acme.example")
    assert (
        loaded.DEFAULT_FROM_EMAIL
        == loaded.SERVER_EMAIL
        == "Creator accounts <no-reply@accounts.acme.example>"
    )
    assert (loaded.EMAIL_SENDER, loaded.EMAIL_REPLY_TO) == ("no-reply@accounts.acme.example", "")
    loaded = load_settings(
        monkeypatch, EMAIL_FROM="Acme <a@acme.example>", EMAIL_REPLY_TO="help@acme.example"
    )
    assert loaded.DEFAULT_FROM_EMAIL == loaded.SERVER_EMAIL == "Acme <a@acme.example>"
    assert (loaded.EMAIL_SENDER, loaded.EMAIL_REPLY_TO) == ("a@acme.example", "help@acme.example")


def test_https_turns_on_secure_cookies_and_hsts(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_settings(monkeypatch, PUBLIC_URL="https://accounts.example/")
    assert loaded.PUBLIC_URL == "https://accounts.example"
    assert loaded.CSRF_COOKIE_SECURE
    assert loaded.SESSION_COOKIE_SECURE
    assert loaded.SECURE_HSTS_SECONDS >= 365 * 86400
    assert "accounts.example" in loaded.ALLOWED_HOSTS


def test_http_is_only_for_loopback_or_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://localhost:8000", "http://127.0.0.9", "http://[::1]:9000"):
        assert url == load_settings(monkeypatch, PUBLIC_URL=url).PUBLIC_URL
    assert load_settings(monkeypatch, PUBLIC_URL="http://test.example", DEBUG="true").DEBUG
    assert load_settings(monkeypatch, HOST="::1", PORT="9000").PUBLIC_URL == "http://[::1]:9000"


@pytest.mark.parametrize(
    ("env", "allowed"),
    [
        ({}, True),
        ({"PUBLIC_URL": "http://[::1]:8000"}, True),
        ({"PUBLIC_URL": "https://accounts.example"}, False),
        ({"TRUSTED_PROXY_COUNT": "1"}, False),
        ({"PUBLIC_URL": "https://accounts.example", "METRICS_FROM_LOOPBACK": "true"}, True),
        ({"METRICS_FROM_LOOPBACK": "false"}, False),
    ],
)
def test_metrics_are_open_to_loopback_only_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], allowed: bool
) -> None:
    assert load_settings(monkeypatch, **env).METRICS_FROM_LOOPBACK is allowed


def test_public_host_is_always_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_settings(
        monkeypatch, PUBLIC_URL="https://Accounts.Example", ALLOWED_HOSTS="internal.example"
    )
    assert loaded.ALLOWED_HOSTS == ["accounts.example", "internal.example"]


def test_argon2_memory_has_a_minimum_for_each_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^ARGON2_MEMORY_COST takes a whole number from 128 to"):
        load_settings(monkeypatch, ARGON2_PARALLELISM="16", ARGON2_MEMORY_COST="127")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "env"),
    [
        (("manage.py", "check"), {"PORT": "x"}),
        (("manage.py", "check"), {"SECRET_KEY": "short"}),
        (("manage.py", "migrate"), {"DATABASE_URL": "rubbish"}),
        (("manage.py", "run_worker"), {"EMAIL_URL": "rubbish"}),
        (("-c", "import config.wsgi"), {"RATE_LIMIT_LOGIN": "x"}),
        (("-c", "import config.wsgi"), {"JWT_SECRET_KEY": "x"}),
    ],
)
def test_start_fails_with_that_line_only(command: tuple[str, ...], env: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    (name,) = env
    assert run.returncode != 0
    assert run.stdout == ""
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith(f"{name} takes "), line
