"""Emails to unverified addresses contain no text of other people, and no name becomes a link."""

from typing import Any

import pytest

from accounts.mail import messages
from accounts.models import SecurityNotice
from accounts.services import notices
from accounts.tests.support.flows import log_in, sign_up
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD, make_creator
from config.tests.support.client import API
from tenancy.context import OPERATOR, tenant_scope, using_alias

BAIT = "You won! Claim: https://evil.example/prize"
VICTIM = "victim@example.com"
AGENT = "Mozilla/5.0 (Linux; Android 9; evil.example/prize) evilprize/1.0 bot"


@pytest.fixture
def unverified(settings: Any, api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    """Mallory signs a stranger up; accounts work without email verification."""
    settings.REQUIRE_EMAIL_VERIFICATION = False
    body = {"email": VICTIM, "password": PASSWORD, "display_name": BAIT.replace("https://", "hxxps ")}
    assert api.post("register", body).status_code == 202
    run_jobs()


def text_of(messages: list[Any]) -> str:
    parts = (f"{mail.subject}\n{mail.body}\n{mail.alternatives[0][0]}" for mail in messages)
    return "\n".join(parts)


def test_unverified_address_gets_no_name_device_or_new_address(
    unverified: None, api: API, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    access = log_in(api, VICTIM).json()["access"]
    api.post("password/reset", {"email": VICTIM}, **{"User-Agent": AGENT})
    api.post("email/change", {"new_email": "prize@evil.example", "password": PASSWORD}, token=access)
    body = {"current_password": PASSWORD, "new_password": "another lovely sentence"}
    api.post("password/change", body, token=access, **{"User-Agent": AGENT})
    run_jobs()
    to_victim = [message for message in mailoutbox if message.to == [VICTIM]]
    assert len(to_victim) >= 4
    for word in ("You won", "evil", "prize"):
        assert word.lower() not in text_of(to_victim).lower()
    assert "from this address to another one" in text_of(to_victim)


def test_verified_address_gets_name_and_new_address(api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    make_creator(VICTIM, display_name="Vic")
    access = log_in(api, VICTIM).json()["access"]
    api.post("email/change", {"new_email": "vic@example.org", "password": PASSWORD}, token=access)
    api.post("password/reset", {"email": VICTIM})
    run_jobs()
    text = text_of([message for message in mailoutbox if message.to == [VICTIM]])
    assert "Hello Vic," in text
    assert "to vic@example.org" in text


@pytest.mark.parametrize(
    "name",
    [
        BAIT,
        "evil.example",
        "Ada of evil.example/prize",
        "www.evil",
        "WWW.EVIL",
        "ｅｖｉｌ．ｅｘａｍｐｌｅ",  # NFKC: evil.example  # noqa: RUF001
        "evil\u3002example",  # an ideographic full stop, a dot in IDNA
        "evil\u2024example",
        "ada@evil.example",
        "192.0.2.7/prize",
        "Ada\u202egnp.exe",  # bidi
        "Ada\u2066Lovelace",
        "evil\u200b.example",
        "Ada\x07",
        "Ada\u2028Lovelace",
    ],
)
def test_name_that_could_become_a_link_is_removed(name: str, mailoutbox: list[Any]) -> None:
    make_creator("ada@example.com", display_name=name)
    with using_alias(OPERATOR):
        messages.send("password_reset", to="ada@example.com", language="en", display_name=name, link="https://us/",
                    expires_minutes=15)  # fmt: skip
    (message,) = mailoutbox
    assert "Hello," in message.body
    assert "evil" not in text_of([message]).lower()
    assert name not in text_of([message])


@pytest.mark.parametrize(
    "name", ["Ada", "Dr. Ada King", "J. R. R. Tolkien", "J.R.R. Tolkien", "Zoë", "阿达", "A/B"]
)
def test_ordinary_name_is_greeted(name: str, mailoutbox: list[Any]) -> None:
    make_creator("ada@example.com")
    with using_alias(OPERATOR):
        messages.send("password_reset", to="ada@example.com", language="en", display_name=name, link="https://us/",
                    expires_minutes=15)  # fmt: skip
    assert f"Hello {name}," in mailoutbox[0].body


def test_device_that_could_become_a_link_is_removed(run_jobs: Any, mailoutbox: list[Any]) -> None:
    ada = make_creator("ada@example.com")
    for device in ("evil.example on Linux", "Firefox on Linux"):
        with tenant_scope(ada.id):
            notices.add(
                SecurityNotice.Kind.NEW_DEVICE, creator_id=ada.id, client=ClientInfo(ip_address="192.0.2.7")
            )
        with using_alias(OPERATOR):
            SecurityNotice.objects.filter(device="").update(device=device)
    run_jobs()
    text = text_of(mailoutbox)
    assert "Firefox on Linux" in text
    assert "evil" not in text


def test_sign_up_mails_contain_no_name(api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    body = {"email": VICTIM, "password": PASSWORD, "display_name": BAIT}
    assert api.post("register", body).status_code == 202
    sign_up(api, VICTIM)
    api.post("email/verify/resend", {"email": VICTIM})
    run_jobs()
    assert len(mailoutbox) == 4
    assert "evil" not in text_of(mailoutbox)
