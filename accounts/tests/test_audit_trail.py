"""Each use case records its event once, with what an owner needs and without secrets."""

from typing import Any

import psycopg
import pytest

from accounts.tests.support.flows import age_used_tokens, confirm, link_in, log_in, sign_up
from accounts.tests.support.forged_tokens import unpack
from config.tests.support.accounts import PASSWORD, Person
from config.tests.support.client import API

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.fixture
def new_events(superuser: psycopg.Connection) -> Any:
    """Returns (type, detail, email address) of each event since the last call."""
    read_rows = [0]

    def read() -> list[tuple[str, dict[str, Any], str]]:
        rows = superuser.execute(
            "SELECT a.type, a.detail, p.email FROM audit_logs a JOIN audit_personal_data p ON p.id = a.id "
            "WHERE a.type <> 'signing_key.rotated' ORDER BY a.id OFFSET %s", [read_rows[0]]
        ).fetchall()  # fmt: skip
        read_rows[0] += len(rows)
        return rows

    return read


def new_types(new_events: Any) -> list[str]:
    return [type_ for type_, _, _ in new_events()]


def test_sign_up_and_confirmation(api: API, run_jobs: Any, mailoutbox: list[Any], new_events: Any) -> None:
    sign_up(api, "Zoe@example.com")
    assert new_events() == [("registration.requested", {}, "zoe@example.com")]
    run_jobs()
    assert new_events() == []
    link = link_in(mailoutbox[0])
    confirm(api, link, "a wrong password")
    assert new_types(new_events) == ["email.verification_failed"]
    pair = confirm(api, link).json()
    (verified, signed_in) = new_events()
    assert verified[:2] == ("email.verified", {})
    assert signed_in[:2] == ("login.succeeded", {"session": unpack(pair["access"])[1]["sid"]})
    confirm(api, link)  # the first response may have been lost
    assert new_types(new_events) == ["login.succeeded"]
    confirm(api, (link[0], "A" * 43))
    assert new_events() == []  # an invalid link records nothing


def test_refused_sign_up_records_nothing(api: API, new_events: Any) -> None:
    api.post("register", {"email": "zoe@example.com", "password": "short"})
    api.post("register", {"email": "rubbish", "password": PASSWORD})
    assert new_events() == []


def test_sign_in(api: API, ada: Person, new_events: Any) -> None:
    log_in(api, ada.email, "wrong")
    log_in(api, "nobody@example.com", "wrong")
    assert new_events() == [("login.failed", {}, ada.email), ("login.failed", {}, "nobody@example.com")]
    pair = log_in(api, ada.email).json()
    ((type_, detail, _),) = new_events()
    assert (type_, detail) == ("login.succeeded", {"session": unpack(pair["access"])[1]["sid"]})


def test_fifth_failure_locks_and_later_ones_record_nothing(api: API, ada: Person, new_events: Any) -> None:
    for _ in range(7):
        log_in(api, ada.email, "wrong")
    assert new_types(new_events) == ["login.failed"] * 5 + ["account.locked"]


def test_reuse_is_recorded_and_refresh_is_not(
    api: API, ada: Person, new_events: Any, superuser: psycopg.Connection
) -> None:
    api.post("refresh", {"refresh": ada.refresh})
    api.post("refresh", {"refresh": ada.refresh})
    assert new_events() == []
    age_used_tokens(superuser, 11)
    for _ in range(3):
        api.post("refresh", {"refresh": ada.refresh})
    ((type_, detail, _),) = new_events()
    assert (type_, detail) == ("token.reused", {"session": unpack(ada.refresh)[1]["sid"]})


def test_sign_out(api: API, ada: Person, new_events: Any) -> None:
    for _ in range(2):
        api.post("logout", {"refresh": ada.refresh}, token=ada.access)
    assert [event[:2] for event in new_events()] == [
        ("session.ended", {"session": unpack(ada.access)[1]["sid"]})
    ]


def test_sign_out_everywhere(api: API, ada: Person, new_events: Any) -> None:
    log_in(api, ada.email)
    new_events()
    api.post("logout/all", token=ada.access)
    assert [event[:2] for event in new_events()] == [("sessions.ended", {"count": 2})]


def test_profile_update(api: API, ada: Person, new_events: Any) -> None:
    api.patch("me", {"display_name": "Secret Name"}, token=ada.access)
    api.patch("me", {}, token=ada.access)
    api.patch("me", {"display_name": "x" * 101}, token=ada.access)
    assert [event[:2] for event in new_events()] == [("profile.updated", {"fields": ["display_name"]})]


def test_upgraded_password_hash(api: API, transactional_db: None, new_events: Any) -> None:
    from django.contrib.auth.hashers import make_password

    from config.tests.support.accounts import make_creator

    old = make_creator("old@example.com", password=make_password("an old password", hasher="pbkdf2_sha256"))
    log_in(api, old.email, "an old password")
    log_in(api, old.email, "an old password")
    assert new_types(new_events) == ["password.upgraded", "login.succeeded", "login.succeeded"]


def test_event_has_client_and_request_id(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    response = api.post("login", {"email": ada.email, "password": ada.password}, **FIREFOX)
    row = superuser.execute(
        "SELECT a.creator_id, a.request_id, host(p.ip_address), p.user_agent, octet_length(a.personal_digest) "
        "FROM audit_logs a JOIN audit_personal_data p ON p.id = a.id WHERE a.type = 'login.succeeded'"
    ).fetchone()
    assert row == (ada.id, response["X-Request-ID"], "127.0.0.1", FIREFOX["User-Agent"], 32)


def test_no_event_has_a_secret_or_a_name(
    api: API, ada: Person, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    secret = "a sentence that must not be kept"
    sign_up(api, "zoe@example.com", secret)
    run_jobs()
    link = link_in(mailoutbox[0])
    pair = confirm(api, link, secret).json()
    log_in(api, "zoe@example.com", "the wrong sentence")
    api.patch("me", {"display_name": "Zoe Zimmermann"}, token=pair["access"])
    api.post("logout", {"refresh": pair["refresh"]}, token=pair["access"])
    logs = "\n".join(row for (row,) in superuser.execute("SELECT a::text FROM audit_logs a"))
    personal_data = "\n".join(
        row for (row,) in superuser.execute("SELECT p::text FROM audit_personal_data p")
    )
    for word in (secret, "the wrong sentence", link[1], pair["access"], pair["refresh"], "Zimmermann"):
        assert word not in logs + personal_data
    for personal in ("zoe@example.com", "127.0.0.1"):
        assert personal in personal_data  # where it can be erased
        assert personal not in logs
