"""A mail to an address that nobody has proved bears no stranger's words, and no name becomes a link."""

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
def unproved(settings: Any, api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    """Mallory signs a stranger up, where an address works unproved."""
    settings.REQUIRE_EMAIL_VERIFICATION = False
    body = {"email": VICTIM, "password": PASSWORD, "display_name": BAIT.replace("https://", "hxxps ")}
    assert api.post("register", body).status_code == 202
    run_jobs()


def everything(messages: list[Any]) -> str:
    return "\n".join(f"{one.subject}\n{one.body}\n{one.alternatives[0][0]}" for one in messages)


def test_unproved_address_gets_no_name_no_device_and_no_new_address(
    unproved: None, api: API, run_jobs: Any, mailoutbox: list[Any]
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
        assert word.lower() not in everything(to_victim).lower()
    assert "from this address to another one" in everything(to_victim)


def test_proved_address_is_greeted_and_told_where_it_goes(
    api: API, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    make_creator(VICTIM, display_name="Vic")
    access = log_in(api, VICTIM).json()["access"]
    api.post("email/change", {"new_email": "vic@example.org", "password": PASSWORD}, token=access)
    api.post("password/reset", {"email": VICTIM})
    run_jobs()
    told = everything([message for message in mailoutbox if message.to == [VICTIM]])
    assert "Hello Vic," in told
    assert "to vic@example.org" in told


@pytest.mark.parametrize(
    "name",
    [
        BAIT,
        "evil.example",
        "Ada of evil.example/prize",
        "www.evil",
        "WWW.EVIL",
        "ｅｖｉｌ．ｅｘａｍｐｌｅ",  # NFKC: evil.example  # noqa: RUF001
        "evil\u3002example",  # an ideographic full stop, which IDNA takes for a dot
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
def test_name_that_a_mail_program_could_make_a_link_of_is_left_out(name: str, mailoutbox: list[Any]) -> None:
    make_creator("ada@example.com", display_name=name)
    with using_alias(OPERATOR):
        messages.send("password_reset", to="ada@example.com", language="en", display_name=name, link="https://us/",
                    expires_minutes=15)  # fmt: skip
    (message,) = mailoutbox
    assert "Hello," in message.body
    assert "evil" not in everything([message]).lower()
    assert name not in everything([message])


@pytest.mark.parametrize(
    "name", ["Ada", "Dr. Ada King", "J. R. R. Tolkien", "J.R.R. Tolkien", "Zoë", "阿达", "A/B"]
)
def test_name_of_a_person_is_greeted(name: str, mailoutbox: list[Any]) -> None:
    make_creator("ada@example.com")
    with using_alias(OPERATOR):
        messages.send("password_reset", to="ada@example.com", language="en", display_name=name, link="https://us/",
                    expires_minutes=15)  # fmt: skip
    assert f"Hello {name}," in mailoutbox[0].body


def test_device_that_could_become_a_link_is_left_out_of_a_notice(
    run_jobs: Any, mailoutbox: list[Any]
) -> None:
    ada = make_creator("ada@example.com")
    for device in ("evil.example on Linux", "Firefox on Linux"):
        with tenant_scope(ada.id):
            notices.add(
                SecurityNotice.Kind.NEW_DEVICE, creator_id=ada.id, client=ClientInfo(ip_address="192.0.2.7")
            )
        with using_alias(OPERATOR):
            SecurityNotice.objects.filter(device="").update(device=device)
    run_jobs()
    told = everything(mailoutbox)
    assert "Firefox on Linux" in told
    assert "evil" not in told


def test_sign_up_without_its_mail_tells_nothing_either(
    api: API, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    body = {"email": VICTIM, "password": PASSWORD, "display_name": BAIT}
    assert api.post("register", body).status_code == 202
    sign_up(api, VICTIM)
    api.post("email/verify/resend", {"email": VICTIM})
    run_jobs()
    assert len(mailoutbox) == 4
    assert "evil" not in everything(mailoutbox)
