"""Signing up: the same answer for everyone, and nobody owns a stranger's account."""

from typing import Any

import psycopg
import pytest

from accounts.ratelimits import limits
from accounts.tests.support.flows import all_at_once, confirm, events, link_in, log_in, sign_up
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements

MALLORYS = "Mallory was here before you"


def told(response: Any) -> tuple[int, Any, dict[str, str]]:
    """All that a client can see, but for the request's own id."""
    headers = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
    return response.status_code, response.json(), headers


def accounts(superuser: psycopg.Connection, email: str, *, holding: bool = True) -> int:
    (count,) = superuser.execute(  # type: ignore[misc]
        "SELECT count(*) FROM creators WHERE email = %s AND holds_email = %s", [email, holding]
    ).fetchone()
    return int(count)


@pytest.fixture(autouse=True)
def mail_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many mails one address gets is a story of its own."""
    monkeypatch.setattr(limits, "MAILS_FROM_ONE_NETWORK", 1000)
    monkeypatch.setattr(limits, "MAILS_TO_ONE_ADDRESS", 1000)


@pytest.fixture
def without_verification(settings: Any) -> None:
    settings.REQUIRE_EMAIL_VERIFICATION = False


def test_answer_is_the_same_for_every_address(api: API, ada: Person) -> None:
    make_creator("waiting@example.com", holds_email=False, email_verified_at=None)
    make_creator("olga@example.com", is_staff=True)
    make_creator("off@example.com", is_active=False)
    addresses = ["new@example.com", ada.email, "ADA@Example.com", "waiting@example.com", "olga@example.com",
                 "off@example.com"]  # fmt: skip
    answers = [told(sign_up(api, address)) for address in addresses]
    assert answers[0][0] == 202
    assert set(answers[0][1]) == {"detail"}
    assert all(answer == answers[0] for answer in answers)


def test_request_does_the_same_work_for_every_address(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    work = []
    for address in ["new@example.com", ada.email]:
        with statements() as seen:
            sign_up(api, address)
        work.append([sql for sql in seen if " counters " not in sql])
    assert any("record_event" in sql for sql in work[0])
    assert work[0] == work[1]
    assert events(superuser) == ["registration.requested"] * 2


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("fourteen chars", "password_too_short"),
        ("x" * 129, "password_too_long"),
        ("zoe.zimmermann@example.com", "password_too_similar"),
        ("Zoe Magdalena Zimmermann", "password_too_similar"),
    ],
)
def test_weak_password_is_refused_by_name(
    api: API, superuser: psycopg.Connection, password: str, code: str
) -> None:
    body = {
        "email": "zoe.zimmermann@example.com",
        "password": password,
        "display_name": "Zoe Magdalena Zimmermann",
    }
    response = api.post("register", body)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_input"
    assert [(one["field"], one["code"]) for one in response.json()["errors"]] == [("password", code)]
    assert accounts(superuser, body["email"], holding=False) == 0


def test_common_password_is_refused(api: API, settings: Any) -> None:
    settings.AUTH_PASSWORD_VALIDATORS = [
        one for one in settings.AUTH_PASSWORD_VALIDATORS if "Common" in one["NAME"]
    ]
    response = api.post("register", {"email": "zoe@example.com", "password": "password1"})
    assert [one["code"] for one in response.json()["errors"]] == ["password_too_common"]


def test_length_counts_characters_after_normalisation(api: API) -> None:
    decomposed = "e\u0301" * 128  # 256 code points, 128 characters
    sign_up(api, "zoe@example.com", decomposed)
    assert api.post("register", {"email": "z@example.com", "password": "e\u0301" * 14}).status_code == 400


def test_password_of_many_code_points_signs_in_as_it_was_chosen(
    api: API, run_jobs: Any, mailoutbox: Any
) -> None:
    decomposed = "e\u0301" * 128
    sign_up(api, "zoe@example.com", decomposed)
    run_jobs()
    assert confirm(api, link_in(mailoutbox[0]), decomposed).status_code == 200
    assert log_in(api, "zoe@example.com", decomposed).status_code == 200
    assert log_in(api, "zoe@example.com", "\u00e9" * 128).status_code == 200


def test_journey_from_sign_up_to_me(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    api.post("register", {"email": " Zoe@Example.COM ", "password": PASSWORD, "display_name": "Zoë"})
    assert log_in(api, "zoe@example.com").status_code == 401
    run_jobs()
    assert mailoutbox[0].to == ["zoe@example.com"]
    pair = confirm(api, link_in(mailoutbox[0])).json()
    me = api.get("me", token=pair["access"]).json()
    assert (me["email"], me["display_name"], me["email_verified"]) == ("zoe@example.com", "Zoë", True)
    assert me["last_login_at"] is not None
    assert log_in(api, "zoe@example.com").status_code == 200


def test_strangers_sign_up_first_and_own_nothing(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "victim@example.com", MALLORYS)
    sign_up(api, "victim@example.com", PASSWORD)
    run_jobs()
    first, second = (link_in(message) for message in mailoutbox)
    # the mailbox's owner, whichever of the links is clicked, knows the own password only
    assert confirm(api, first, PASSWORD).status_code == 400
    assert confirm(api, second, PASSWORD).status_code == 200
    assert log_in(api, "victim@example.com", PASSWORD).status_code == 200
    assert log_in(api, "victim@example.com", MALLORYS).status_code == 401


def test_stranger_with_the_password_alone_gets_no_further(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "victim@example.com", MALLORYS)
    sign_up(api, "victim@example.com", PASSWORD)
    sign_up(api, "mallory@example.com", MALLORYS)
    run_jobs()
    (mallorys_own,) = (link_in(message) for message in mailoutbox if message.to == ["mallory@example.com"])
    victims_uid = link_in(mailoutbox[0])[0]
    assert confirm(api, (victims_uid, mallorys_own[1]), MALLORYS).status_code == 400
    assert log_in(api, "victim@example.com", MALLORYS).status_code == 401


def test_first_confirmed_wins_and_the_others_die(
    api: API, run_jobs: Any, mailoutbox: Any, superuser: psycopg.Connection
) -> None:
    passwords = [f"the password of sign-up {number}" for number in range(3)]
    for password in passwords:
        sign_up(api, "zoe@example.com", password)
    run_jobs()
    links = [link_in(message) for message in mailoutbox]
    assert confirm(api, links[1], passwords[1]).status_code == 200
    assert [confirm(api, links[n], passwords[n]).status_code for n in (0, 2)] == [400, 400]
    assert [log_in(api, "zoe@example.com", password).status_code for password in passwords] == [401, 200, 401]
    assert accounts(superuser, "zoe@example.com") == 1


def test_confirmations_racing_for_one_address_have_one_winner(
    api: API, run_jobs: Any, mailoutbox: Any, superuser: psycopg.Connection
) -> None:
    for number in range(8):
        sign_up(api, "zoe@example.com", f"the password of sign-up {number}")
    run_jobs()
    links = [link_in(message) for message in mailoutbox]
    statuses = all_at_once(
        8,
        lambda n: (
            confirm(API(raise_request_exception=False), links[n], f"the password of sign-up {n}").status_code
        ),
    )
    assert sorted(statuses) == [200] + [400] * 7
    assert accounts(superuser, "zoe@example.com") == 1


def test_owner_of_a_used_address_gets_a_mail_and_keeps_the_account(
    api: API, ada: Person, run_jobs: Any, mailoutbox: Any, superuser: psycopg.Connection
) -> None:
    sign_up(api, "Ada@Example.com", MALLORYS)
    run_jobs()
    (message,) = mailoutbox
    assert message.to == [ada.email]
    assert "sign up again" in message.subject
    assert "/account/password-reset/" in message.body
    assert log_in(api, ada.email, MALLORYS).status_code == 401
    assert log_in(api, ada.email, ada.password).status_code == 200
    assert accounts(superuser, ada.email, holding=False) == 0
    assert "registration.repeated" in events(superuser, of=ada.id)


def test_resend_answers_alike_and_mails_only_those_who_wait(
    api: API, ada: Person, run_jobs: Any, mailoutbox: Any
) -> None:
    sign_up(api, "zoe@example.com")
    make_creator("olga@example.com", is_staff=True)
    run_jobs()
    mailoutbox.clear()
    answers = [
        told(api.post("email/verify/resend", {"email": address}))
        for address in ["ZOE@example.com", ada.email, "nobody@example.com", "olga@example.com"]
    ]
    assert answers[0][0] == 202
    assert all(answer == answers[0] for answer in answers)
    assert run_jobs() == 5  # one finds out, and one sends a link
    assert [message.to for message in mailoutbox] == [["zoe@example.com"]]
    assert confirm(api, link_in(mailoutbox[0])).status_code == 200


def test_resent_and_first_link_are_one_sign_up(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "zoe@example.com")
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    run_jobs()
    first, second = (link_in(message) for message in mailoutbox)
    assert confirm(api, first).status_code == 200
    assert confirm(api, second).status_code == 400  # or each would be one more way to sign in


@pytest.mark.parametrize("strangers_network", ["198.51.100", "203.0.113"], ids=["theirs", "the owner's"])
@pytest.mark.parametrize("strangers_first", [False, True])
def test_strangers_sign_ups_do_not_push_the_owners_out_of_a_resend(
    run_jobs: Any, mailoutbox: Any, strangers_network: str, strangers_first: bool
) -> None:
    def client(address: str) -> API:
        return API(raise_request_exception=False, REMOTE_ADDR=address)

    def strangers() -> None:
        for number in range(2, 6):
            sign_up(client(f"{strangers_network}.{number}"), "zoe@example.com", MALLORYS)

    owner = client("203.0.113.1")
    if strangers_first:
        strangers()
    sign_up(owner, "zoe@example.com")
    if not strangers_first:
        strangers()
    run_jobs()
    mailoutbox.clear()
    assert owner.post("email/verify/resend", {"email": "zoe@example.com"}).status_code == 202
    run_jobs()
    links = [link_in(message) for message in mailoutbox]
    assert len(links) == 3
    assert 200 in [confirm(owner, link).status_code for link in links]


def test_each_mail_of_a_resend_counts(
    api: API, run_jobs: Any, mailoutbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAILS_FROM_ONE_NETWORK", 5)
    for _ in range(2):
        sign_up(api, "zoe@example.com")
    for _ in range(5):
        api.post("email/verify/resend", {"email": "zoe@example.com"})
    run_jobs()
    assert len(mailoutbox) == 5


@pytest.mark.usefixtures("without_verification")
def test_without_verification_the_account_works_at_once(api: API) -> None:
    sign_up(api, "zoe@example.com")
    pair = log_in(api, "zoe@example.com").json()
    assert api.get("me", token=pair["access"]).json()["email_verified"] is False


@pytest.mark.usefixtures("without_verification")
def test_without_verification_the_first_sign_up_wins(
    api: API, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: Any
) -> None:
    answers = [told(sign_up(api, "zoe@example.com", password)) for password in (PASSWORD, MALLORYS)]
    assert answers[0] == answers[1]
    assert log_in(api, "zoe@example.com", PASSWORD).status_code == 200
    assert log_in(api, "zoe@example.com", MALLORYS).status_code == 401
    assert accounts(superuser, "zoe@example.com") + accounts(superuser, "zoe@example.com", holding=False) == 1
    run_jobs()
    assert "sign up again" in mailoutbox[1].subject
    assert confirm(api, link_in(mailoutbox[0])).status_code == 200


def parallel_sign_ups(api: API) -> list[int]:
    return all_at_once(
        20, lambda n: sign_up(API(), "zoe@example.com", f"the password of sign-up {n}").status_code
    )


@pytest.mark.usefixtures("without_verification")
def test_parallel_sign_ups_give_one_account_without_verification(
    api: API, superuser: psycopg.Connection
) -> None:
    assert parallel_sign_ups(api) == [202] * 20
    assert accounts(superuser, "zoe@example.com") == 1
    assert accounts(superuser, "zoe@example.com", holding=False) == 0


def test_parallel_sign_ups_give_one_account(
    api: API, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: Any
) -> None:
    assert parallel_sign_ups(api) == [202] * 20
    assert run_jobs() == 20
    links = [link_in(message) for message in mailoutbox]
    assert len(set(links)) == 20
    for link in links:
        for number in range(3):  # passwords of others; its own is one of twenty
            confirm(api, link, f"the password of sign-up {number}")
    assert accounts(superuser, "zoe@example.com") == 1


def test_nobody_becomes_staff_by_signing_up(
    api: API, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: Any
) -> None:
    body = {"email": "mallory@example.com", "password": PASSWORD, "is_staff": True, "is_superuser": True,
            "holds_email": True, "is_active": True, "id": "00000000-0000-7000-8000-000000000000"}  # fmt: skip
    assert api.post("register", body).status_code == 202
    assert superuser.execute("SELECT is_staff OR is_superuser OR holds_email FROM creators").fetchall() == [
        (False,)
    ]


MALFORMED = (
    "", "plain", "@example.com", "a@", "a b@example.com", "a@example..com", "a@exa\u0000mple.com",
    f"{'a' * 250}@example.com", "a@example.com\nBcc: b@example.com",
    "a@" + ".".join(["\ufb03" * 21] * 11) + ".de",
)  # fmt: skip


def test_malformed_address_is_refused_by_name(api: API) -> None:
    doors = {"register": {"password": PASSWORD}, "email/verify/resend": {}, "login": {"password": "x"}}
    for address in MALFORMED:
        for door, body in doors.items():
            response = api.post(door, {"email": address, **body})
            assert response.status_code == 400, (door, address)
            assert {one["field"] for one in response.json()["errors"]} == {"email"}, (door, address)
