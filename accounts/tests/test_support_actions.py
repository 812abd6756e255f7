"""What operators do to an account: who may, what it does at once, and who hears of it."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core import mail
from django.test import Client

from accounts.admin.actions import ACTION_TEXTS
from accounts.exceptions import CreatorNotFoundError, JustificationRequiredError
from accounts.models import ApiKey, Creator
from accounts.services import api_keys
from accounts.services.operators import support
from accounts.tests.support.creator_pages import (
    LIST,
    REASON,
    assert_nameless,
    own_events,
    page_of,
    record_justification,
    says,
)
from accounts.tests.support.end_users import SESSIONS, open_session
from accounts.tests.support.flows import all_at_once, confirm, events, link_in, log_in, sign_up
from accounts.tests.support.resource_servers import post_token
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.operators import confirm as step_up
from config.tests.support.operators import enter, make_operator
from tenancy.context import OPERATOR, using_alias

KEYS = "/admin/accounts/apikey/"
ROLES = ("", "support", "security", "superuser")
MAY = {
    "lift_lock": (False, True, True, True),
    "end_sessions": (False, True, True, True),
    "send_reset": (False, True, True, True),
    "mark_verified": (False, False, True, True),
    "deactivate": (False, False, True, True),
    "reactivate": (False, False, True, True),
    "delete": (False, False, False, True),
}


def act_on(person: Person, act: str) -> str:
    return f"{LIST}{person.id}/{act}/"


def do(client: Client, person: Person, act: str, **data: str) -> str:
    """Press the button, confirm, and read what the next page says."""
    asked = client.get(act_on(person, act))
    assert asked.status_code == 200, (asked.status_code, asked.headers.get("Location"))
    assert person.email in says(asked)
    answer = client.post(act_on(person, act), data, follow=True)
    assert answer.status_code == 200
    return says(answer)


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@staff.example")


@pytest.fixture
def browser(olga: Person) -> Client:
    client = enter(olga)
    step_up(client, olga)
    return client


@pytest.fixture
def opened(browser: Client, ada: Person) -> Client:
    """Olga's browser, before Ada's record."""
    assert record_justification(browser, ada).status_code == 302
    return browser


def state_of(superuser: psycopg.Connection, person: Person) -> Any:
    query = (
        "SELECT to_jsonb(c) - 'last_login', (SELECT count(*) FROM sessions s WHERE s.creator_id = c.id AND ended_at IS NULL) "
        "FROM creators c WHERE id = %s"
    )
    return superuser.execute(query, [person.id]).fetchone()


# --- who may ------------------------------------------------------------------------------------
def test_every_act_has_its_button_and_stands_in_the_table() -> None:
    assert ACTION_TEXTS.keys() == support.SUPPORT_ACTIONS.keys() == MAY.keys()


@pytest.mark.parametrize("role", ROLES)
def test_each_role_does_what_it_may_and_nothing_else(
    ada: Person, role: str, superuser: psycopg.Connection, api: API
) -> None:
    operator = make_operator("op@staff.example", role)
    client = enter(operator)
    step_up(client, operator)
    expected = 302 if role else 403
    assert record_justification(client, ada).status_code == expected
    offered = client.get(page_of(ada)).content.decode()
    before = state_of(superuser, ada)
    for act, allowed in MAY.items():
        may = allowed[ROLES.index(role)]
        assert client.get(act_on(ada, act)).status_code == (200 if may else 403), act
        if not may:
            assert client.post(act_on(ada, act), {"typed": ada.email}).status_code == 403, act
            assert f"/{act}/" not in offered
    assert state_of(superuser, ada) == before
    assert client.get(LIST).status_code == (200 if role else 403)


def test_anonymous_and_creators_are_sent_to_the_sign_in(ada: Person) -> None:
    for act in MAY:
        answer = Client().post(act_on(ada, act))
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("act", [name for name, button in ACTION_TEXTS.items() if button.is_dangerous])
def test_dangerous_acts_ask_for_the_password_again(
    olga: Person, ada: Person, act: str, superuser: psycopg.Connection
) -> None:
    client = enter(olga)
    record_justification(client, ada)
    before = state_of(superuser, ada)
    for answer in (client.get(act_on(ada, act)), client.post(act_on(ada, act), {"typed": ada.email})):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/confirm/")
    assert state_of(superuser, ada) == before


@pytest.mark.parametrize("act", MAY)
def test_nothing_is_done_without_a_reason_or_on_get(
    browser: Client, ada: Person, act: str, superuser: psycopg.Connection
) -> None:
    before = state_of(superuser, ada)
    answer = browser.post(act_on(ada, act), {"typed": ada.email})
    assert (answer.status_code, answer.headers["Location"]) == (302, page_of(ada))
    record_justification(browser, ada)
    assert browser.get(act_on(ada, act)).status_code == 200
    assert browser.head(act_on(ada, act)).status_code == 200
    assert state_of(superuser, ada) == before
    assert events(superuser, of=ada.id) == ["account.viewed"]


def test_another_sites_form_does_nothing(olga: Person, ada: Person, superuser: psycopg.Connection) -> None:
    client = enter(olga)
    record_justification(client, ada)
    client.handler.enforce_csrf_checks = True
    assert client.post(act_on(ada, "end_sessions")).status_code == 403
    assert "sessions.revoked" not in events(superuser, of=ada.id)


@pytest.mark.parametrize("act", MAY)
def test_services_know_no_staff_and_want_the_reason(olga: Person, ada: Person, act: str) -> None:
    other = make_operator("oscar@staff.example", "support")
    with using_alias(OPERATOR):
        with pytest.raises(JustificationRequiredError):
            support.perform(act, creator_id=ada.id, operator_id=olga.id, client=ClientInfo())
        for person in (olga, other):
            reason_in_the_book(person.id, olga.id)
            with pytest.raises(CreatorNotFoundError):
                support.perform(act, creator_id=person.id, operator_id=olga.id, client=ClientInfo())
            assert Creator.objects.get(pk=person.id).is_active


def reason_in_the_book(creator_id: UUID, operator_id: UUID) -> None:
    """As if there were one, whatever `record_justification` refuses."""
    from accounts.services.operators import justification
    from audit.events import Event

    justification.record_operator_action(
        Event.ACCOUNT_VIEWED,
        creator_id=creator_id,
        operator_id=operator_id,
        client=ClientInfo(),
        reason=REASON,
    )


# --- what they do ---------------------------------------------------------------------------------
def test_lock_is_lifted_at_both_doors(api: API, ada: Person, opened: Client) -> None:
    for _ in range(5):
        log_in(api, ada.email, "wrong")
        Client().post("/admin/login/", {"username": ada.email, "password": "wrong"})
    assert log_in(api, ada.email).status_code == 429
    assert "The lock is lifted." in do(opened, ada, "lift_lock")
    assert log_in(api, ada.email).status_code == 200
    assert own_events(api, ada)[1]["summary"] == f"Support ended a lock of your sign-in: {REASON}"
    assert "There was nothing to do." in do(opened, ada, "lift_lock")


def test_sessions_end_at_once_and_the_creator_hears_of_it(
    api: API, ada: Person, opened: Client, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    assert "All sessions are ended." in do(opened, ada, "end_sessions")
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 401
    assert log_in(api, ada.email).status_code == 200
    run_jobs()
    (message,) = mail.outbox
    assert (message.to, "Our support signed out all your devices" in message.subject) == ([ada.email], True)
    assert "choose a new password" not in message.body
    assert superuser.execute(
        "SELECT DISTINCT end_reason FROM sessions WHERE ended_at IS NOT NULL"
    ).fetchall() == [("support",)]


def test_reset_mail_works_and_says_who_sent_it(api: API, ada: Person, opened: Client, run_jobs: Any) -> None:
    assert "The mail is on its way." in do(opened, ada, "send_reset")
    run_jobs()
    (message,) = mail.outbox
    assert "Our support sends you this link" in message.body
    uid, token = link_in(message)
    done = api.post(
        "password/reset/confirm", {"uid": uid, "token": token, "new_password": "another lovely sentence"}
    )
    assert done.status_code == 204
    assert_nameless(str(message.body), Person(uuid4(), "olga@staff.example"))


def test_reset_mails_to_one_address_are_not_many(ada: Person, opened: Client, run_jobs: Any) -> None:
    for _ in range(5):
        do(opened, ada, "send_reset")
    assert "has had enough mails" in do(opened, ada, "send_reset")
    run_jobs()
    assert len(mail.outbox) == 5


def test_deactivated_means_dead_everywhere_and_nothing_comes_back(
    api: API, ada: Person, bob: Person, opened: Client, run_jobs: Any
) -> None:
    visitor, bobs = open_session(api, ada)["session"], open_session(api, bob)["session"]
    api.post("password/reset", {"email": ada.email})
    run_jobs()
    uid, token = link_in(mail.outbox.pop())
    assert "The account is deactivated." in do(opened, ada, "deactivate")

    def is_dead() -> None:
        assert api.get("me", token=ada.access).status_code == 401
        assert api.post("refresh", {"refresh": ada.refresh}).status_code == 401
        assert api.get(f"{SESSIONS}/current", token=visitor).status_code == 401
        link = {"uid": uid, "token": token, "new_password": "another lovely sentence"}
        assert api.post("password/reset/confirm", link).status_code == 400

    is_dead()
    assert log_in(api, ada.email).status_code == 401
    assert api.post(SESSIONS, {"creator": str(ada.id)}).status_code == 404
    assert "The account is active again." in do(opened, ada, "reactivate")
    is_dead()
    assert log_in(api, ada.email).status_code == 200
    assert api.get("me", token=bob.access).status_code == 200
    assert api.get(f"{SESSIONS}/current", token=bobs).status_code == 200
    run_jobs()
    (message,) = mail.outbox
    assert "Our support deactivated your account" in message.body
    assert "Our support reactivated your account" in message.body


def test_sign_in_that_races_a_deactivation_leaves_no_session(
    ada: Person, opened: Client, superuser: psycopg.Connection
) -> None:
    def act(number: int) -> int:
        if number == 0:
            opened.post(act_on(ada, "deactivate"))
            return 0
        return int(log_in(API(), ada.email).status_code)

    all_at_once(6, act)
    row = superuser.execute("SELECT count(*) FROM sessions WHERE ended_at IS NULL").fetchone()
    assert row == (0,)


def test_marked_address_is_an_account(
    api: API, browser: Client, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")
    run_jobs()
    link = link_in(mail.outbox.pop())
    zoe = the_one(superuser, "zoe@example.com")
    record_justification(browser, zoe)
    assert "The address is verified." in do(browser, zoe, "mark_verified")
    zoe = sign_in(zoe)
    assert log_in(api, zoe.email).status_code == 200
    assert confirm(api, link).status_code == 400  # nobody needs it any more
    run_jobs()
    assert [message.to for message in mail.outbox] == [[zoe.email]]
    assert "Our support confirmed your email address" in mail.outbox[0].body
    assert own_events(api, zoe)[1]["summary"] == f"Support marked your e-mail address as confirmed: {REASON}"


def the_one(superuser: psycopg.Connection, email: str) -> Person:
    ((found,),) = superuser.execute("SELECT id FROM creators WHERE email = %s", [email]).fetchall()
    return Person(found, email)


def test_address_that_another_account_holds_is_not_marked(
    ada: Person, browser: Client, superuser: psycopg.Connection
) -> None:
    waiting = make_creator(ada.email, holds_email=False, email_verified_at=None)
    record_justification(browser, waiting)
    assert "Another account has confirmed this address" in do(browser, waiting, "mark_verified")
    assert state_of(superuser, waiting)[0]["holds_email"] is False
    assert events(superuser, of=waiting.id) == ["account.viewed"]


def test_two_marked_at_once_make_one_account(
    browser: Client, olga: Person, superuser: psycopg.Connection
) -> None:
    waiting = [make_creator("zoe@example.com", holds_email=False, email_verified_at=None) for _ in range(2)]
    for person in waiting:
        record_justification(browser, person)

    def act(number: int) -> bool:
        with using_alias(OPERATOR):
            try:
                return support.perform(
                    "mark_verified", creator_id=waiting[number].id, operator_id=olga.id, client=ClientInfo()
                )
            except support.AddressTakenError:
                return False

    assert sorted(all_at_once(2, act)) == [False, True]
    assert superuser.execute(
        "SELECT count(*) FROM creators WHERE holds_email AND email = 'zoe@example.com'"
    ).fetchone() == (1,)


def test_a_stranger_whose_address_somebody_signed_up_hears_nothing(
    browser: Client, run_jobs: Any, superuser: psycopg.Connection, api: API
) -> None:
    stranger = make_creator("stranger@example.com", holds_email=False, email_verified_at=None)
    record_justification(browser, stranger)
    do(browser, stranger, "deactivate")
    do(browser, stranger, "reactivate")
    do(browser, stranger, "lift_lock")
    assert "There was nothing to do." in do(browser, stranger, "send_reset")
    run_jobs()
    assert mail.outbox == []


def test_deletion_wants_the_address_typed(ada: Person, opened: Client, superuser: psycopg.Connection) -> None:
    for typed in ("", "bob@example.com", "ada@example.co"):
        assert opened.post(act_on(ada, "delete"), {"typed": typed}).status_code == 200
    assert state_of(superuser, ada)
    assert "The account is deleted." in do(opened, ada, "delete", typed=" Ada@Example.com ")
    assert state_of(superuser, ada) is None


def test_of_a_deleted_account_stays_the_book_without_personal_data(
    api: API, ada: Person, bob: Person, olga: Person, opened: Client, superuser: psycopg.Connection
) -> None:
    open_session(api, ada)
    log_in(api, ada.email, "wrong")
    do(opened, ada, "delete", typed=ada.email)
    for table in ("sessions", "refresh_tokens", "user_sessions", "security_notices"):
        count = superuser.execute(
            f"SELECT count(*) FROM {table} WHERE creator_id = %s".encode(), [ada.id]
        ).fetchone()
        assert count == (0,), table
    assert events(superuser, of=ada.id)[-2:] == ["login.failed", "account.removed"]
    told = "SELECT p::text FROM audit_personal_data p JOIN audit_logs a USING (id) WHERE a.creator_id = %s"
    left = [text for (text,) in superuser.execute(told, [ada.id])]
    assert all(ada.email not in text and "127.0.0.1" not in text for text in left)
    ((act, creator),) = superuser.execute(
        "SELECT detail->>'act', detail->>'creator' FROM audit_logs WHERE creator_id = %s "
        "AND type = 'operator.acted' ORDER BY id DESC LIMIT 1", [olga.id]
    ).fetchall()  # fmt: skip
    assert (act, creator) == ("account.removed", str(ada.id))
    assert opened.get(page_of(ada)).status_code == 404
    assert state_of(superuser, bob)


def test_deleting_a_sign_up_leaves_the_accounts_lock(api: API, ada: Person, browser: Client) -> None:
    waiting = make_creator(ada.email, holds_email=False, email_verified_at=None)
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    record_justification(browser, waiting)
    do(browser, waiting, "delete", typed=ada.email)
    assert log_in(api, ada.email, PASSWORD).status_code == 429


@pytest.mark.parametrize("act", ["end_sessions", "deactivate", "lift_lock", "send_reset"])
def test_both_books_tell_of_it(
    api: API, ada: Person, olga: Person, opened: Client, act: str, superuser: psycopg.Connection
) -> None:
    log_in(api, ada.email, "wrong")
    do(opened, ada, act)
    (told,) = superuser.execute(
        "SELECT id, type, detail, request_id FROM audit_logs WHERE creator_id = %s ORDER BY id DESC LIMIT 1",
        [ada.id],
    ).fetchall()
    (ours,) = superuser.execute(
        "SELECT type, detail, request_id FROM audit_logs WHERE creator_id = %s ORDER BY id DESC LIMIT 1",
        [olga.id],
    ).fetchall()
    assert told[1] == support.SUPPORT_ACTIONS[act].event
    assert told[2]["reason"] == REASON
    assert ours == (
        "operator.acted",
        told[2] | {"act": told[1], "creator": str(ada.id), "event_id": str(told[0])},
        told[3],
    )


# --- API keys -----------------------------------------------------------------------------------
@pytest.fixture
def key(transactional_db: None) -> tuple[str, str]:
    """The key, and the page that revokes it."""
    with using_alias(OPERATOR):
        made = api_keys.create_api_key("the shop")
        assert made
        return made, f"{KEYS}{ApiKey.objects.get().pk}/revoke/"


def test_key_is_revoked_for_good(
    api: API,
    ada: Person,
    browser: Client,
    key: tuple[str, str],
    olga: Person,
    superuser: psycopg.Connection,
) -> None:
    assert post_token(api, "introspect", key[0], ada.access).status_code == 200
    assert "the shop" in says(browser.get(KEYS))
    assert "the shop" in says(browser.get(key[1]))
    assert "The key is revoked." in says(browser.post(key[1], follow=True))
    assert post_token(api, "introspect", key[0], ada.access).status_code == 401
    assert "api_key.revoked" in events(superuser, of=olga.id)
    assert key[1] not in browser.get(KEYS).content.decode()
    before = len(events(superuser))
    browser.post(key[1])
    assert len(events(superuser)) == before


@pytest.mark.parametrize(
    ("role", "sees", "revokes"),
    [("", 403, 403), ("support", 403, 403), ("security", 200, 200), ("superuser", 200, 200)],
)
def test_keys_are_for_security(
    key: tuple[str, str], role: str, sees: int, revokes: int, superuser: psycopg.Connection
) -> None:
    operator = make_operator("op@staff.example", role)
    client = enter(operator)
    assert client.get(KEYS).status_code == sees
    first = client.post(key[1])
    assert first.status_code == (302 if revokes == 200 else 403)
    assert superuser.execute("SELECT revoked_at FROM api_keys").fetchone() == (None,)  # not without step-up
    step_up(client, operator)
    assert client.get(key[1]).status_code == revokes


def test_list_of_keys_shows_no_digest_and_no_other_page(
    browser: Client, key: tuple[str, str], superuser: psycopg.Connection
) -> None:
    ((digest, key_id),) = superuser.execute("SELECT encode(digest, 'hex'), id FROM api_keys").fetchall()
    seen = browser.get(KEYS).content.decode()
    assert digest not in seen
    assert key[0] not in seen
    assert browser.get(KEYS, {"digest__startswith": "a"}).status_code == 400
    for path in (f"{key_id}/change/", f"{key_id}/delete/", f"{key_id}/history/", "add/"):
        assert browser.get(KEYS + path, follow=True).status_code == 404
