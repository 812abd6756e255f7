"""Email verification by API and by page."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.services import email_verification
from accounts.tests.support.flows import (
    all_at_once,
    confirm,
    events,
    link_in,
    log_in,
    log_lines,
    page_in,
    sign_up,
)
from config.tests.support.accounts import PASSWORD, Person
from config.tests.support.client import API

Link = tuple[str, str]
GERMAN = {"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}


@pytest.fixture
def message(api: API, run_jobs: Any, mailoutbox: list[Any]) -> Any:
    """The verification email to Zoe."""
    sign_up(api, "zoe@example.com")
    run_jobs()
    return mailoutbox[0]


@pytest.fixture
def link(message: Any) -> Link:
    return link_in(message)


@pytest.fixture
def page(message: Any) -> str:
    return page_in(message)


@pytest.fixture
def browser() -> Client:
    return Client(raise_request_exception=False)


def assert_invalid(response: Any) -> None:
    assert (response.status_code, response.json()["code"]) == (400, "invalid_token"), response.content


def age_links(superuser: psycopg.Connection, seconds: int) -> None:
    superuser.execute(
        "UPDATE email_verification_tokens SET expires_at = expires_at - make_interval(secs => %s)", [seconds]
    )


def test_confirmation_can_be_repeated_after_a_lost_response(
    api: API, link: Link, superuser: psycopg.Connection
) -> None:
    assert confirm(api, link).status_code == 200
    again = confirm(api, link)
    assert again.status_code == 200
    assert api.get("me", token=again.json()["access"]).json()["email_verified"] is True
    assert events(superuser).count("email.verified") == 1
    assert_invalid(confirm(api, link, "wrong"))


def test_parallel_uses_of_a_link_confirm_once(api: API, link: Link, superuser: psycopg.Connection) -> None:
    # five, because each counts as an attempt
    statuses = all_at_once(5, lambda _: confirm(API(raise_request_exception=False), link).status_code)
    assert statuses == [200] * 5
    assert events(superuser).count("email.verified") == 1
    assert_invalid(confirm(api, link))


def test_used_link_ends_with_a_reset(api: API, link: Link, run_jobs: Any, mailoutbox: list[Any]) -> None:
    confirm(api, link)
    api.post("password/reset", {"email": "zoe@example.com"})
    run_jobs()
    uid, token = link_in(next(message for message in mailoutbox if "/account/reset/" in message.body))
    body = {"uid": uid, "token": token, "new_password": PASSWORD}
    assert api.post("password/reset/confirm", body).status_code == 204
    assert_invalid(confirm(api, link))


def test_link_expires_to_the_second(api: API, link: Link, superuser: psycopg.Connection) -> None:
    age_links(superuser, 24 * 3600 - 30)
    assert_invalid(confirm(api, link, "wrong"))  # not expired, so the attempt counts
    (attempts,) = superuser.execute("SELECT attempts FROM email_verification_tokens").fetchone()  # type: ignore[misc]
    assert attempts == 1
    age_links(superuser, 30)
    assert_invalid(confirm(api, link))
    age_links(superuser, -30)
    assert confirm(api, link).status_code == 200


def test_five_wrong_passwords_end_the_link(api: API, link: Link, page: str, browser: Client) -> None:
    for _ in range(4):
        assert_invalid(confirm(api, link, "wrong"))
    assert "Enter the password" in browser.get(page).content.decode()
    assert_invalid(confirm(api, link, "wrong"))
    assert_invalid(confirm(api, link))
    assert browser.get(page).status_code == 400
    assert log_in(api, "zoe@example.com").status_code == 401


def test_fifth_password_may_be_the_right_one(api: API, link: Link) -> None:
    for _ in range(4):
        assert_invalid(confirm(api, link, "wrong"))
    assert confirm(api, link).status_code == 200


def test_parallel_guesses_verify_five_passwords(
    link: Link, monkeypatch: pytest.MonkeyPatch, superuser: psycopg.Connection
) -> None:
    from accounts.services import password_hashing

    verified: list[str] = []
    verify = password_hashing.verify

    def counting(password: str, encoded: str | None) -> password_hashing.VerificationResult:
        verified.append(password)
        return verify(password, encoded)

    monkeypatch.setattr(password_hashing, "verify", counting)
    statuses = all_at_once(
        20, lambda n: confirm(API(raise_request_exception=False), link, f"guess number {n}").status_code
    )
    assert statuses == [400] * 20
    assert len(verified) == 5
    assert events(superuser).count("email.verification_failed") == 5


def test_token_of_another_creator_is_refused(
    api: API, link: Link, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    sign_up(api, "mallory@example.com")
    run_jobs()
    mallorys = link_in(mailoutbox[1])
    assert_invalid(confirm(api, (link[0], mallorys[1])))
    assert_invalid(confirm(api, (mallorys[0], link[1])))
    assert confirm(api, link).status_code == 200


def test_deactivated_sign_up_is_not_confirmed(api: API, link: Link, superuser: psycopg.Connection) -> None:
    superuser.execute("UPDATE creators SET is_active = false")
    assert_invalid(confirm(api, link))


MALFORMED: dict[str, Callable[[Link], Link]] = {
    "uid blank": lambda link: (" ", link[1]),
    "uid not base64": lambda link: ("!!!", link[1]),
    "uid too short": lambda link: (link[0][:-2], link[1]),
    "uid too long": lambda link: (link[0] + "AAAA", link[1]),
    "uid padded": lambda link: (link[0] + "==", link[1]),
    "uid another spelling": lambda link: (link[0][:-1] + chr(ord(link[0][-1]) + 1), link[1]),
    "uid a UUID": lambda link: ("01a2052b-7f68-7014-96e8-1474819aa645", link[1]),
    "uid nil": lambda link: ("A" * 22, link[1]),
    "uid non-ASCII": lambda link: ("é" * 22, link[1]),
    "token empty": lambda link: (link[0], " "),
    "token truncated": lambda link: (link[0], link[1][:-1]),
    "token longer": lambda link: (link[0], link[1] + "A"),
    "token padded": lambda link: (link[0], link[1] + "="),
    "token in capitals": lambda link: (link[0], link[1].upper()),
    "token non-ASCII": lambda link: (link[0], link[1][:-1] + "é"),
    "token full-width": lambda link: (link[0], "\uff21" * 43),
    "token SQL": lambda link: (link[0], "' OR 1=1 --"),
    "token a percent sign": lambda link: (link[0], "%"),
    "token a NUL": lambda link: (link[0], "\0"),
    "token very long": lambda link: (link[0], "A" * 5000),
}


def test_malformed_link_is_refused_by_api_and_page(api: API, browser: Client, link: Link) -> None:
    for kind, mutate in MALFORMED.items():
        uid, token = mutate(link)
        response = confirm(api, (uid, token))
        assert response.status_code == 400, kind
        assert response.json()["code"] in {"invalid_token", "invalid_input"}, kind
        path = f"/account/verify-email/{uid}/{token}/"
        assert browser.get(path).status_code in {400, 404}, kind
        assert browser.post(path, {"password": PASSWORD}).status_code in {400, 404}, kind
    assert confirm(api, link).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_of_the_page_does_not_use_the_link(
    api: API, browser: Client, page: str, link: Link, superuser: psycopg.Connection, method: str
) -> None:
    """Mail scanners follow links."""
    for _ in range(10):
        response = browser.generic(method, page)
        assert response.status_code == 200
        assert bool(response.content) is (method == "GET")
    assert superuser.execute("SELECT attempts, used_at FROM email_verification_tokens").fetchall() == [
        (0, None)
    ]
    assert confirm(api, link).status_code == 200


def test_page_confirms_with_the_password(api: API, browser: Client, page: str) -> None:
    assert b'name="password"' in browser.get(page).content
    wrong = browser.post(page, {"password": "wrong"})
    assert wrong.status_code == 400
    assert "not the password of this sign-up" in wrong.content.decode()
    assert browser.post(page, {"password": ""}).status_code == 400
    done = browser.post(page, {"password": PASSWORD}, follow=True)
    assert done.redirect_chain == [("/account/verify-email/done/", 302)]
    assert done.status_code == 200
    assert log_in(api, "zoe@example.com").status_code == 200
    assert browser.post(page, {"password": PASSWORD}).status_code == 302  # the response may have been lost


def test_page_does_not_sign_in(browser: Client, page: str) -> None:
    for response in (browser.get(page), browser.post(page, {"password": PASSWORD})):
        assert set(response.cookies) <= {"csrftoken"}


def test_page_is_in_german(browser: Client, page: str) -> None:
    text = browser.get(page, headers=GERMAN).content.decode()
    assert '<html lang="de">' in text
    assert "Passwort" in text
    refused = browser.post(page, {"password": "wrong"}, headers=GERMAN).content.decode()
    assert "not the password" not in refused
    dead = browser.get("/account/verify-email/AAAA/BBBB/", headers=GERMAN)
    assert (dead.status_code, '<html lang="de">' in dead.content.decode()) == (400, True)


def test_page_refuses_cross_site_posts(api: API, page: str, link: Link) -> None:
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    assert strict.post(page, {"password": PASSWORD}).status_code == 403
    token = strict.get(page).cookies["csrftoken"].value
    body = {"password": PASSWORD, "csrfmiddlewaretoken": token}
    assert strict.post(page, body, headers={"Origin": "https://mallory.example"}).status_code == 403
    assert strict.post(page, body).status_code == 302


def test_page_headers_protect_the_link(browser: Client, page: str) -> None:
    response = browser.get(page)
    assert response["Referrer-Policy"] == "same-origin"
    policy = response["Content-Security-Policy"]
    for directive in (
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ):
        assert directive in policy
    assert "unsafe" not in policy
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response["Cache-Control"]
    assert response["X-Request-ID"]
    text = response.content.decode()
    assert "http://" not in text.replace("http://testserver", "")
    assert "https://" not in text
    assert "<script" not in text


def test_logs_have_the_route_and_not_the_link(browser: Client, page: str, link: Link) -> None:
    with log_lines() as lines:
        browser.get(page)
        browser.post(page, {"password": PASSWORD})
        browser.put(page)
        browser.get(page + "more")
        browser.post(page, {"password": PASSWORD}, headers={"Host": "mallory.example"})
    assert "verify-email" in lines.getvalue()
    assert link[1] not in lines.getvalue()
    assert PASSWORD not in lines.getvalue()


def test_error_log_does_not_have_the_link(
    browser: Client, page: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(email_verification, "is_usable", fail)
    with log_lines() as lines:
        assert browser.get(page).status_code == 500
    assert "ZeroDivisionError" in lines.getvalue()
    assert link[1] not in lines.getvalue()


def test_links_are_built_from_public_url(
    api: API, settings: Any, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.PUBLIC_URL = "https://accounts.example"
    sign_up(api, "zoe@example.com", Host="mallory.example")
    run_jobs()
    assert "https://accounts.example/account/verify-email/" in mailoutbox[0].body
    assert "mallory" not in mailoutbox[0].body


def test_resend_works_after_the_link_has_expired(
    api: API, link: Link, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    age_links(superuser, 24 * 3600 + 1)
    assert_invalid(confirm(api, link))
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    run_jobs()
    assert confirm(api, link_in(mailoutbox[1])).status_code == 200


def test_confirmation_does_not_affect_other_creators(api: API, link: Link, ada: Person) -> None:
    confirm(api, link)
    assert api.get("me", token=ada.access).json()["email"] == ada.email
