"""The admin's list and detail page of creators: search, justification, and what the creator sees of it."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.test import Client

from accounts.admin.creators import CreatorAdmin
from accounts.email_addresses import display_email
from accounts.exceptions import JustificationRequiredError
from accounts.services.operators import search
from accounts.services.operators.creator_detail import get_detail
from accounts.tests.support.creator_pages import (
    LIST,
    OPERATOR_USER_AGENT,
    REASON,
    assert_anonymous,
    events_seen_by,
    page_of,
    record_justification,
    text_of,
)
from accounts.tests.support.end_users import open_session
from accounts.tests.support.flows import log_in
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.operators import make_operator, sign_in_operator
from tenancy.context import OPERATOR, using_alias


def is_open(client: Client, person: Person) -> bool:
    response = client.get(page_of(person))
    assert response.status_code == 200
    return "Recent events" in text_of(response)


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@staff.example", "support")


@pytest.fixture
def browser(olga: Person) -> Client:
    return sign_in_operator(olga)


# --- search ------------------------------------------------------------------------------------
@pytest.fixture
def creators(transactional_db: None) -> dict[str, Person]:
    addresses = [
        "ada.lovelace@studio.example",
        "ada@mail.test",
        "bob-lovell+shop@studio.example",
        "zoe.o'brien_4@xn--mnchen-3ya.example",
        "canada@north.test",
    ]
    return {address: make_creator(address, password="a$b$c$d") for address in addresses}


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("ada", "ada.lovelace@studio.example ada@mail.test"),
        ("ada.lo", "ada.lovelace@studio.example"),
        ("ada@", "ada@mail.test"),
        ("lovel", "ada.lovelace@studio.example bob-lovell+shop@studio.example"),
        ("shop", "bob-lovell+shop@studio.example"),
        ("@studio.example", "ada.lovelace@studio.example bob-lovell+shop@studio.example"),
        ("studio.ex", "ada.lovelace@studio.example bob-lovell+shop@studio.example"),
        ("lovel shop", "bob-lovell+shop@studio.example"),
        ("  ADA.Lovelace@Studio.Example ", "ada.lovelace@studio.example"),
        ("lovelace.ada", ""),  # no address has them in this order
        ("velace", ""),  # the middle of a part
        ("o'br", "zoe.o'brien_4@xn--mnchen-3ya.example"),
        ("mnchen", "zoe.o'brien_4@xn--mnchen-3ya.example"),
        ("MU\u0308NCHEN.example", "zoe.o'brien_4@xn--mnchen-3ya.example"),
        ("@münchen", "zoe.o'brien_4@xn--mnchen-3ya.example"),
        ("nobody", ""),
    ],
)
def test_search_matches_beginnings_of_address_parts(
    browser: Client, creators: dict[str, Person], term: str, found: str
) -> None:
    listed = text_of(browser.get(LIST, {"q": term}))
    shown = [address for address in creators if display_email(address).replace("'", "&#x27;") in listed]
    assert shown == found.split()


def test_search_finds_a_creator_by_id(browser: Client, creators: dict[str, Person]) -> None:
    canada = creators["canada@north.test"]
    for term in (str(canada.id), f" {str(canada.id).upper()} ", canada.id.hex):
        listed = text_of(browser.get(LIST, {"q": term}))
        assert [address for address in creators if address in listed] == ["canada@north.test"]
    assert "@" not in text_of(browser.get(LIST, {"q": str(uuid4())})).split("Creators", 1)[1]


@pytest.mark.parametrize(
    "term",
    [
        "'",
        "\\",
        "a\\'b",
        "x:*",
        "ada & | ! <-> bob",
        "@",
        "...",
        "()",
        "%",
        "_",
        "\x00",
        "a" * 5000,
        "a " * 5000,
        "💥",
        "''",
    ],
)
def test_no_search_term_is_an_error(browser: Client, creators: dict[str, Person], term: str) -> None:
    response = browser.get(LIST, {"q": term})
    assert response.status_code == 200
    assert "canada@" not in text_of(response) or term == "\x00"  # a rejected search shows the whole list


def test_search_warns_about_too_many_results(
    browser: Client, creators: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_RESULTS", 2)
    response = browser.get(LIST, {"q": "example"})
    assert "More than 2 creators" in text_of(response)
    assert text_of(response).count(".example ") == 2
    assert "More than" not in text_of(browser.get(LIST, {"q": "lovel"}))


def test_list_is_limited_to_the_newest(
    browser: Client, creators: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_RESULTS", 2)
    monkeypatch.setattr(CreatorAdmin, "list_per_page", 1)
    pages = [text_of(browser.get(LIST, {"p": number}, follow=True)) for number in (1, 2, 3)]
    assert "canada@" in pages[0]
    assert "zoe.o" in pages[1]
    assert "canada@" in pages[2]  # there is no third


def test_no_page_number_is_an_error(browser: Client, creators: dict[str, Person]) -> None:
    for number in ("2", "10000", "-1", "0", "x", "9" * 400):
        assert browser.get(LIST, {"p": number}, follow=True).status_code == 200


@pytest.mark.parametrize(
    "name", ["password", "password__startswith", "id__gt", "groups__name", "email__regex"]
)
def test_list_allows_no_filters_in_the_url(browser: Client, ada: Person, name: str) -> None:
    assert browser.get(LIST, {name: "a"}).status_code == 400


def test_list_of_weak_password_hashes(browser: Client, ada: Person, settings: Any) -> None:
    settings.BCRYPT_ROUNDS = 12
    make_creator("old@example.com", password="bcrypt$$2b$11$x")
    rows = text_of(browser.get(LIST, {"hash": "weak"}))
    assert "old@" in rows
    assert "ada@" not in rows
    assert "ada@" in text_of(browser.get(LIST))


def test_operators_are_not_in_the_list_of_creators(browser: Client, olga: Person) -> None:
    other = make_operator("oscar@staff.example", "security")
    assert "oscar@" not in text_of(browser.get(LIST, {"q": "oscar"}))
    for person in (olga, other):
        assert browser.get(page_of(person)).status_code == 404
        assert record_justification(browser, person).status_code == 404
        assert browser.post(f"{LIST}{person.id}/end_sessions/").status_code == 404
    assert browser.get(f"{LIST}{uuid4()}/change/").status_code == 404


# --- justification ---------------------------------------------------------------------------------
def test_justification_opens_the_account_for_an_hour(
    browser: Client, ada: Person, superuser: psycopg.Connection
) -> None:
    assert not is_open(browser, ada)
    assert record_justification(browser, ada).status_code == 302
    assert is_open(browser, ada)
    age_events(superuser, 3590)
    assert is_open(browser, ada)
    age_events(superuser, 20)
    assert not is_open(browser, ada)


def age_events(superuser: psycopg.Connection, seconds: int) -> None:
    """Make every event older, by the time in its id."""
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("ALTER TABLE audit_logs DISABLE TRIGGER audit_logs_append_only")
    superuser.execute(
        "UPDATE audit_logs SET id = (lpad(to_hex(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint"
        " - %s), 12, '0') || substr(translate(id::text, '-', ''), 13))::uuid",
        [seconds * 1000],
    )
    superuser.execute("ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER audit_logs_append_only")
    superuser.execute("SET session_replication_role = origin")


def test_justification_is_for_one_creator_and_one_operator(browser: Client, ada: Person, bob: Person) -> None:
    record_justification(browser, ada)
    assert not is_open(browser, bob)
    assert not is_open(sign_in_operator(make_operator("oscar@staff.example", "security")), ada)


@pytest.mark.parametrize(
    "reason",
    ["", "too short", "x" * 201, "          ", "ask ada@example.com about it", "two\x85lines of words"],
)
def test_justification_is_plain_text_of_limited_length(
    browser: Client, ada: Person, reason: str, api: API
) -> None:
    response = record_justification(browser, ada, reason)
    assert response.status_code == 200
    assert 'aria-invalid="true"' in response.content.decode()
    assert not is_open(browser, ada)
    assert events_seen_by(api, ada) == []


def test_creator_sees_the_reason_but_not_the_operator(
    api: API, ada: Person, olga: Person, browser: Client
) -> None:
    record_justification(browser, ada)
    is_open(browser, ada)
    is_open(browser, ada)
    (event,) = events_seen_by(api, ada)
    assert event["type"] == "account.viewed"
    assert event["summary"] == f"Support viewed your account: {REASON}"
    assert event["detail"] == {"reason": REASON}
    assert event["ip_address"] is None
    assert event["user_agent"] == ""


def test_creators_events_and_export_hide_the_operator(
    api: API, ada: Person, olga: Person, browser: Client
) -> None:
    record_justification(browser, ada)
    for action in ("end_sessions", "send_reset"):
        log_in(api, ada.email)
        response = browser.post(f"{LIST}{ada.id}/{action}/", headers={"User-Agent": OPERATOR_USER_AGENT})
        assert response.status_code == 302
    access = log_in(api, ada.email).json()["access"]
    export = api.get("me/export", token=access).content.decode()
    listed = api.get("/api/v1/audit/events", token=access).content.decode()
    assert "Support ended all your sessions" in listed
    assert "Support ended all your sessions" in export
    assert_anonymous(export + listed, olga)


def test_operators_event_has_both_ids(
    ada: Person, olga: Person, browser: Client, superuser: psycopg.Connection
) -> None:
    record_justification(browser, ada)
    ((creator_id, detail, agent, ip),) = superuser.execute(
        "SELECT a.creator_id, a.detail, p.user_agent, host(p.ip_address) FROM audit_logs a "
        "JOIN audit_personal_data p ON p.id = a.id WHERE a.type = 'operator.acted'"
    ).fetchall()
    assert creator_id == olga.id
    ((event_id,),) = superuser.execute("SELECT id FROM audit_logs WHERE creator_id = %s", [ada.id]).fetchall()
    facts = {"act": "account.viewed", "creator": str(ada.id), "event_id": str(event_id), "reason": REASON}
    assert (detail, agent, ip) == (facts, OPERATOR_USER_AGENT, "127.0.0.1")


# --- detail ------------------------------------------------------------------------------------
def test_detail_shows_state_sessions_lockouts_and_events(api: API, ada: Person, browser: Client) -> None:
    open_session(api, ada)
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    record_justification(browser, ada)
    text = text_of(browser.get(page_of(ada)))
    for words in (
        "ada@example.com", "Active", "Verified", "Locked", str(ada.id), "Unknown device", "Sessions of end users 1",
        "A sign-in failed.", "Sign-in was locked", "Service 5 20", "Your justification",
    ):  # fmt: skip
        assert words in text, words


def test_detail_contains_no_secret(
    api: API, ada: Person, browser: Client, superuser: psycopg.Connection
) -> None:
    session = open_session(api, ada)["session"]
    record_justification(browser, ada)
    text = browser.get(page_of(ada)).content.decode() + browser.get(LIST).content.decode()
    ((encoded,),) = superuser.execute("SELECT password FROM creators WHERE id = %s", [ada.id]).fetchall()
    jtis = [str(jti) for (jti,) in superuser.execute("SELECT id FROM refresh_tokens")]
    for secret in (encoded, encoded[-20:], ada.access, ada.refresh, session, *jtis):
        assert secret not in text


def test_djangos_pages_of_an_object_are_disabled(browser: Client, ada: Person) -> None:
    root = sign_in_operator(make_operator("root@staff.example"))
    for path in (f"{ada.id}/", f"{ada.id}/history/", "add/", f"{ada.id}/password/", f"{ada.id}/nothing/"):
        assert root.get(LIST + path, follow=True).status_code == 404, path


def test_service_requires_a_justification(ada: Person, olga: Person) -> None:
    with using_alias(OPERATOR), pytest.raises(JustificationRequiredError):
        get_detail(creator_id=ada.id, operator_id=olga.id)


def test_detail_shows_no_events_of_others(api: API, ada: Person, bob: Person, browser: Client) -> None:
    log_in(api, bob.email, "wrong")
    record_justification(browser, ada)
    assert "A sign-in failed." not in text_of(browser.get(page_of(ada)))
    assert json.dumps(events_seen_by(api, bob)).count("login.failed") == 1


def test_invisible_characters_of_names_are_escaped(browser: Client, superuser: psycopg.Connection) -> None:
    ada = make_creator("ada@example.com", display_name="Ada \u202eecivreS")
    record_justification(browser, ada)
    for page in (LIST, page_of(ada)):
        shown = browser.get(page).content.decode()
        assert "Ada \\u202eecivreS" in shown
        assert "\u202e" not in shown
    kept = superuser.execute("SELECT display_name FROM creators WHERE id = %s", [ada.id]).fetchone()
    assert kept == ("Ada \u202eecivreS",)
