"""Sign-up: the same response for every address, and no access to a stranger's account."""

from typing import Any

import psycopg
import pytest

from accounts.ratelimits import limits
from accounts.tests.support.flows import all_at_once, confirm, events, link_in, log_in, sign_up
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements

MALLORYS = "Mallory was here before you"


def visible(response: Any) -> tuple[int, Any, dict[str, str]]:
    """Everything that a client can see except the request id."""
    headers = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
    return response.status_code, response.json(), headers


def accounts(superuser: psycopg.Connection, email: str, *, holding: bool = True) -> int:
    (count,) = superuser.execute(  # type: ignore[misc]
        "SELECT count(*) FROM creators WHERE email = %s AND holds_email = %s", [email, holding]
    ).fetchone()
    return int(count)


@pytest.fixture(autouse=True)
def unlimited_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAILS_FROM_ONE_NETWORK", 1000)
    monkeypatch.setattr(limits, "MAILS_TO_ONE_ADDRESS", 1000)


@pytest.fixture
def without_verification(settings: Any) -> None:
    settings.REQUIRE_EMAIL_VERIFICATION = False


def test_response_is_the_same_for_every_address(api: API, ada: Person) -> None:
    make_creator("waiting@example.com", holds_email=False, email_verified_at=None)
    make_creator("olga@example.com", is_staff=True)
    make_creator("off@example.com", is_active=False)
    addresses = ["new@example.com", ada.email, "ADA@Example.com", "waiting@example.com", "olga@example.com",
                 "off@example.com"]  # fmt: skip
    responses = [visible(sign_up(api, address)) for address in addresses]
    assert responses[0][0] == 202
    assert set(responses[0][1]) == {"detail"}
    assert all(response == responses[0] for response in responses)


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
def test_weak_password_is_refused_with_a_code(
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
    assert [(error["field"], error["code"]) for error in response.json()["errors"]] == [("password", code)]
    assert accounts(superuser, body["email"], holding=False) == 0


def test_common_password_is_refused(api: API, settings: Any) -> None:
    settings.AUTH_PASSWORD_VALIDATORS = [
        validator for validator in settings.AUTH_PASSWORD_VALIDATORS if "Common" in validator["NAME"]
    ]
    response = api.post("register", {"email": "zoe@example.com", "password": "password1"})
    assert [error["code"] for error in response.json()["errors"]] == ["password_too_common"]


def test_length_is_counted_after_normalization(api: API) -> None:
    decomposed = "e\u0301" * 128  # 256 code points, 128 characters
    sign_up(api, "zoe@example.com", decomposed)
    assert api.post("register", {"email": "z@example.com", "password": "e\u0301" * 14}).status_code == 400


def test_decomposed_password_signs_in(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    decomposed = "e\u0301" * 128
    sign_up(api, "zoe@example.com", decomposed)
    run_jobs()
    assert confirm(api, link_in(mailoutbox[0]), decomposed).status_code == 200
    assert log_in(api, "zoe@example.com", decomposed).status_code == 200
    assert log_in(api, "zoe@example.com", "\u00e9" * 128).status_code == 200


def test_flow_from_sign_up_to_profile(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    api.post("register", {"email": " Zoe@Example.COM ", "password": PASSWORD, "display_name": "Zoë"})
    assert log_in(api, "zoe@example.com").status_code == 401
    run_jobs()
    assert mailoutbox[0].to == ["zoe@example.com"]
    pair = confirm(api, link_in(mailoutbox[0])).json()
    me = api.get("me", token=pair["access"]).json()
    assert (me["email"], me["display_name"], me["email_verified"]) == ("zoe@example.com", "Zoë", True)
    assert me["last_login_at"] is not None
    assert log_in(api, "zoe@example.com").status_code == 200


def test_strangers_earlier_sign_up_gives_no_access(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "victim@example.com", MALLORYS)
    sign_up(api, "victim@example.com", PASSWORD)
    run_jobs()
    first, second = (link_in(message) for message in mailoutbox)
    # the owner of the mailbox may click either link, but knows only one password
    assert confirm(api, first, PASSWORD).status_code == 400
    assert confirm(api, second, PASSWORD).status_code == 200
    assert log_in(api, "victim@example.com", PASSWORD).status_code == 200
    assert log_in(api, "victim@example.com", MALLORYS).status_code == 401


def test_password_without_the_link_gives_no_access(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "victim@example.com", MALLORYS)
    sign_up(api, "victim@example.com", PASSWORD)
    sign_up(api, "mallory@example.com", MALLORYS)
    run_jobs()
    (mallorys_own,) = (link_in(message) for message in mailoutbox if message.to == ["mallory@example.com"])
    victims_uid = link_in(mailoutbox[0])[0]
    assert confirm(api, (victims_uid, mallorys_own[1]), MALLORYS).status_code == 400
    assert log_in(api, "victim@example.com", MALLORYS).status_code == 401


def test_first_confirmed_sign_up_wins(
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


def test_of_parallel_confirmations_one_wins(
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


def test_owner_of_a_taken_address_is_notified(
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


def test_resend_mails_only_pending_sign_ups(api: API, ada: Person, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "zoe@example.com")
    make_creator("olga@example.com", is_staff=True)
    run_jobs()
    mailoutbox.clear()
    responses = [
        visible(api.post("email/verify/resend", {"email": address}))
        for address in ["ZOE@example.com", ada.email, "nobody@example.com", "olga@example.com"]
    ]
    assert responses[0][0] == 202
    assert all(response == responses[0] for response in responses)
    assert run_jobs() == 5  # four look the address up, one sends the link
    assert [message.to for message in mailoutbox] == [["zoe@example.com"]]
    assert confirm(api, link_in(mailoutbox[0])).status_code == 200


def test_first_and_resent_link_confirm_one_sign_up(api: API, run_jobs: Any, mailoutbox: Any) -> None:
    sign_up(api, "zoe@example.com")
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    run_jobs()
    first, second = (link_in(message) for message in mailoutbox)
    assert confirm(api, first).status_code == 200
    assert confirm(api, second).status_code == 400  # otherwise each link would be one more way to sign in


@pytest.mark.parametrize(
    "strangers_network", ["198.51.100", "203.0.113"], ids=["another network", "the same network"]
)
@pytest.mark.parametrize("strangers_first", [False, True])
def test_resend_includes_the_owner_among_many_sign_ups(
    run_jobs: Any, mailoutbox: Any, strangers_network: str, strangers_first: bool
) -> None:
    def client(address: str) -> API:
        return API(raise_request_exception=False, REMOTE_ADDR=address)

    def sign_up_strangers() -> None:
        for number in range(2, 6):
            sign_up(client(f"{strangers_network}.{number}"), "zoe@example.com", MALLORYS)

    owner = client("203.0.113.1")
    if strangers_first:
        sign_up_strangers()
    sign_up(owner, "zoe@example.com")
    if not strangers_first:
        sign_up_strangers()
    run_jobs()
    mailoutbox.clear()
    assert owner.post("email/verify/resend", {"email": "zoe@example.com"}).status_code == 202
    run_jobs()
    links = [link_in(message) for message in mailoutbox]
    assert len(links) == 3
    assert 200 in [confirm(owner, link).status_code for link in links]


def test_each_mail_of_a_resend_counts_towards_the_limit(
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
    responses = [visible(sign_up(api, "zoe@example.com", password)) for password in (PASSWORD, MALLORYS)]
    assert responses[0] == responses[1]
    assert log_in(api, "zoe@example.com", PASSWORD).status_code == 200
    assert log_in(api, "zoe@example.com", MALLORYS).status_code == 401
    assert accounts(superuser, "zoe@example.com") + accounts(superuser, "zoe@example.com", holding=False) == 1
    run_jobs()
    assert "sign up again" in mailoutbox[1].subject
    assert confirm(api, link_in(mailoutbox[0])).status_code == 200


def sign_up_in_parallel() -> list[int]:
    return all_at_once(
        20, lambda n: sign_up(API(), "zoe@example.com", f"the password of sign-up {n}").status_code
    )


@pytest.mark.usefixtures("without_verification")
def test_without_verification_parallel_sign_ups_give_one_account(
    api: API, superuser: psycopg.Connection
) -> None:
    assert sign_up_in_parallel() == [202] * 20
    assert accounts(superuser, "zoe@example.com") == 1
    assert accounts(superuser, "zoe@example.com", holding=False) == 0


def test_parallel_sign_ups_give_one_account(
    api: API, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: Any
) -> None:
    assert sign_up_in_parallel() == [202] * 20
    assert run_jobs() == 20
    links = [link_in(message) for message in mailoutbox]
    assert len(set(links)) == 20
    for link in links:
        for number in range(3):  # at most one of these is its own
            confirm(api, link, f"the password of sign-up {number}")
    assert accounts(superuser, "zoe@example.com") == 1


def test_sign_up_can_not_set_privileged_fields(
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


def test_malformed_address_is_refused(api: API) -> None:
    endpoints = {"register": {"password": PASSWORD}, "email/verify/resend": {}, "login": {"password": "x"}}
    for address in MALFORMED:
        for path, body in endpoints.items():
            response = api.post(path, {"email": address, **body})
            assert response.status_code == 400, (path, address)
            assert {error["field"] for error in response.json()["errors"]} == {"email"}, (path, address)
