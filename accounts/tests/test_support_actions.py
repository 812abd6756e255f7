"""Support actions: permissions, effects, notices and audit events."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core import mail
from django.test import Client

from accounts.exceptions import CreatorNotFoundError, JustificationRequiredError
from accounts.models import ApiKey, Creator
from accounts.services import api_keys
from accounts.services.operators import justification, support
from accounts.tests.support.creator_pages import (
    LIST,
    REASON,
    assert_anonymous,
    events_seen_by,
    page_of,
    record_justification,
    text_of,
)
from accounts.tests.support.end_users import SESSIONS, open_session
from accounts.tests.support.flows import all_at_once, confirm, events, link_in, log_in, sign_up
from accounts.tests.support.resource_servers import post_token
from audit.events import Event
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.operators import make_operator, reauthenticate, sign_in_operator
from tenancy.context import OPERATOR, tenant_scope, using_alias
from tenancy.exceptions import TenantMismatchError

KEYS = "/admin/accounts/apikey/"
ROLES = ("", "support", "security", "superuser")
ALLOWED = {
    "unlock": (False, True, True, True),
    "end_sessions": (False, True, True, True),
    "send_reset": (False, True, True, True),
    "mark_verified": (False, False, True, True),
    "deactivate": (False, False, True, True),
    "reactivate": (False, False, True, True),
    "delete": (False, False, False, True),
}


def url_of(person: Person, action: str) -> str:
    return f"{LIST}{person.id}/{action}/"


def perform(client: Client, person: Person, action: str, **data: str) -> str:
    """Open the action, confirm it, and return the text of the next page."""
    page = client.get(url_of(person, action))
    assert page.status_code == 200, (page.status_code, page.headers.get("Location"))
    assert person.email in text_of(page)
    response = client.post(url_of(person, action), data, follow=True)
    assert response.status_code == 200
    return text_of(response)


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@staff.example")


@pytest.fixture
def browser(olga: Person) -> Client:
    client = sign_in_operator(olga)
    reauthenticate(client, olga)
    return client


@pytest.fixture
def justified(browser: Client, ada: Person) -> Client:
    """Olga's client, with a justification for Ada's account."""
    assert record_justification(browser, ada).status_code == 302
    return browser


def state_of(superuser: psycopg.Connection, person: Person) -> Any:
    query = (
        "SELECT to_jsonb(c) - 'last_login', (SELECT count(*) FROM sessions s WHERE s.creator_id = c.id AND ended_at IS NULL) "
        "FROM creators c WHERE id = %s"
    )
    return superuser.execute(query, [person.id]).fetchone()


# --- permissions ------------------------------------------------------------------------------------
def test_table_has_every_action() -> None:
    assert support.SUPPORT_ACTIONS.keys() == ALLOWED.keys()


@pytest.mark.parametrize("role", ROLES)
def test_roles_can_only_use_their_actions(
    ada: Person, role: str, superuser: psycopg.Connection, api: API
) -> None:
    operator = make_operator("op@staff.example", role)
    client = sign_in_operator(operator)
    reauthenticate(client, operator)
    expected = 302 if role else 403
    assert record_justification(client, ada).status_code == expected
    offered = client.get(page_of(ada)).content.decode()
    before = state_of(superuser, ada)
    for action, allowed in ALLOWED.items():
        may = allowed[ROLES.index(role)]
        assert client.get(url_of(ada, action)).status_code == (200 if may else 403), action
        if not may:
            assert client.post(url_of(ada, action), {"typed": ada.email}).status_code == 403, action
            assert f"/{action}/" not in offered
    assert state_of(superuser, ada) == before
    assert client.get(LIST).status_code == (200 if role else 403)


def test_anonymous_is_redirected_to_the_sign_in(ada: Person) -> None:
    for action in ALLOWED:
        response = Client().post(url_of(ada, action))
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    "action", [name for name, each in support.SUPPORT_ACTIONS.items() if each.is_dangerous]
)
def test_dangerous_actions_require_reauthentication(
    olga: Person, ada: Person, action: str, superuser: psycopg.Connection
) -> None:
    client = sign_in_operator(olga)
    record_justification(client, ada)
    before = state_of(superuser, ada)
    for response in (client.get(url_of(ada, action)), client.post(url_of(ada, action), {"typed": ada.email})):
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/confirm/")
    assert state_of(superuser, ada) == before


@pytest.mark.parametrize("action", ALLOWED)
def test_actions_need_a_justification_and_a_post(
    browser: Client, ada: Person, action: str, superuser: psycopg.Connection
) -> None:
    before = state_of(superuser, ada)
    response = browser.post(url_of(ada, action), {"typed": ada.email})
    assert (response.status_code, response.headers["Location"]) == (302, page_of(ada))
    record_justification(browser, ada)
    assert browser.get(url_of(ada, action)).status_code == 200
    assert browser.head(url_of(ada, action)).status_code == 200
    assert state_of(superuser, ada) == before
    assert events(superuser, of=ada.id) == ["account.viewed"]


def test_actions_require_a_csrf_token(olga: Person, ada: Person, superuser: psycopg.Connection) -> None:
    client = sign_in_operator(olga)
    record_justification(client, ada)
    client.handler.enforce_csrf_checks = True
    assert client.post(url_of(ada, "end_sessions")).status_code == 403
    assert "sessions.revoked" not in events(superuser, of=ada.id)


@pytest.mark.parametrize("action", ALLOWED)
def test_service_refuses_staff_and_missing_justifications(olga: Person, ada: Person, action: str) -> None:
    other = make_operator("oscar@staff.example", "support")
    with using_alias(OPERATOR):
        with pytest.raises(JustificationRequiredError):
            support.perform(action, creator_id=ada.id, operator_id=olga.id, client=ClientInfo())
        for person in (olga, other):
            record_view(person.id, olga.id)
            with pytest.raises(CreatorNotFoundError):
                support.perform(action, creator_id=person.id, operator_id=olga.id, client=ClientInfo())
            assert Creator.objects.get(pk=person.id).is_active


def record_view(creator_id: UUID, operator_id: UUID) -> None:
    """Record a justification without the checks of `record_justification`."""
    justification.record_operator_action(
        Event.ACCOUNT_VIEWED,
        creator_id=creator_id,
        operator_id=operator_id,
        client=ClientInfo(),
        reason=REASON,
    )


def test_operator_action_is_not_recorded_in_a_tenants_scope(
    olga: Person, ada: Person, superuser: psycopg.Connection
) -> None:
    with using_alias(OPERATOR), pytest.raises(TenantMismatchError), tenant_scope(ada.id):
        record_view(ada.id, olga.id)
    assert events(superuser, of=ada.id) == []


# --- effects ---------------------------------------------------------------------------------
def test_unlock_resets_the_counts_of_both_scopes(api: API, ada: Person, justified: Client) -> None:
    for _ in range(5):
        log_in(api, ada.email, "wrong")
        Client().post("/admin/login/", {"username": ada.email, "password": "wrong"})
    assert log_in(api, ada.email).status_code == 429
    assert "The account is unlocked." in perform(justified, ada, "unlock")
    assert log_in(api, ada.email).status_code == 200
    assert events_seen_by(api, ada)[1]["summary"] == f"Support unlocked your sign-in: {REASON}"
    assert "There was nothing to do." in perform(justified, ada, "unlock")


def test_end_sessions_revokes_tokens_and_notifies(
    api: API, ada: Person, justified: Client, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    assert "All sessions are ended." in perform(justified, ada, "end_sessions")
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


def test_reset_mail_works_and_names_support(api: API, ada: Person, justified: Client, run_jobs: Any) -> None:
    assert "The mail is on its way." in perform(justified, ada, "send_reset")
    run_jobs()
    (message,) = mail.outbox
    assert "Our support sends you this link" in message.body
    uid, token = link_in(message)
    done = api.post(
        "password/reset/confirm", {"uid": uid, "token": token, "new_password": "another lovely sentence"}
    )
    assert done.status_code == 204
    assert_anonymous(str(message.body), Person(uuid4(), "olga@staff.example"))


def test_reset_mails_are_rate_limited(ada: Person, justified: Client, run_jobs: Any) -> None:
    for _ in range(5):
        perform(justified, ada, "send_reset")
    assert "got too many mails" in perform(justified, ada, "send_reset")
    run_jobs()
    assert len(mail.outbox) == 5


def test_reactivation_restores_no_session_or_link(
    api: API, ada: Person, bob: Person, justified: Client, run_jobs: Any
) -> None:
    end_user, bobs = open_session(api, ada)["session"], open_session(api, bob)["session"]
    api.post("password/reset", {"email": ada.email})
    run_jobs()
    uid, token = link_in(mail.outbox.pop())
    assert "The account is deactivated." in perform(justified, ada, "deactivate")

    def assert_revoked() -> None:
        assert api.get("me", token=ada.access).status_code == 401
        assert api.post("refresh", {"refresh": ada.refresh}).status_code == 401
        assert api.get(f"{SESSIONS}/current", token=end_user).status_code == 401
        link = {"uid": uid, "token": token, "new_password": "another lovely sentence"}
        assert api.post("password/reset/confirm", link).status_code == 400

    assert_revoked()
    assert log_in(api, ada.email).status_code == 401
    assert api.post(SESSIONS, {"creator": str(ada.id)}).status_code == 404
    assert "The account is active again." in perform(justified, ada, "reactivate")
    assert_revoked()
    assert log_in(api, ada.email).status_code == 200
    assert api.get("me", token=bob.access).status_code == 200
    assert api.get(f"{SESSIONS}/current", token=bobs).status_code == 200
    run_jobs()
    (message,) = mail.outbox
    assert "Our support deactivated your account" in message.body
    assert "Our support reactivated your account" in message.body


def test_sign_in_during_deactivation_leaves_no_session(
    ada: Person, justified: Client, superuser: psycopg.Connection
) -> None:
    def attempt(number: int) -> int:
        if number == 0:
            justified.post(url_of(ada, "deactivate"))
            return 0
        return int(log_in(API(), ada.email).status_code)

    all_at_once(6, attempt)
    row = superuser.execute("SELECT count(*) FROM sessions WHERE ended_at IS NULL").fetchone()
    assert row == (0,)


def test_marking_verified_makes_a_sign_up_an_account(
    api: API, browser: Client, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")
    run_jobs()
    link = link_in(mail.outbox.pop())
    zoe = creator_with(superuser, "zoe@example.com")
    record_justification(browser, zoe)
    assert "The address is verified." in perform(browser, zoe, "mark_verified")
    zoe = sign_in(zoe)
    assert log_in(api, zoe.email).status_code == 200
    assert confirm(api, link).status_code == 400  # the link is void
    run_jobs()
    assert [message.to for message in mail.outbox] == [[zoe.email]]
    assert "Our support confirmed your email address" in mail.outbox[0].body
    assert (
        events_seen_by(api, zoe)[1]["summary"] == f"Support marked your email address as confirmed: {REASON}"
    )


def creator_with(superuser: psycopg.Connection, email: str) -> Person:
    ((found,),) = superuser.execute("SELECT id FROM creators WHERE email = %s", [email]).fetchall()
    return Person(found, email)


def test_address_of_another_account_is_not_marked(
    ada: Person, browser: Client, superuser: psycopg.Connection
) -> None:
    unverified = make_creator(ada.email, holds_email=False, email_verified_at=None)
    record_justification(browser, unverified)
    assert "Another account has verified this address" in perform(browser, unverified, "mark_verified")
    assert state_of(superuser, unverified)[0]["holds_email"] is False
    assert events(superuser, of=unverified.id) == ["account.viewed"]


def test_marking_two_sign_ups_at_once_makes_one_account(
    browser: Client, olga: Person, superuser: psycopg.Connection
) -> None:
    unverified = [
        make_creator("zoe@example.com", holds_email=False, email_verified_at=None) for _ in range(2)
    ]
    for person in unverified:
        record_justification(browser, person)

    def attempt(number: int) -> bool:
        with using_alias(OPERATOR):
            try:
                return support.perform(
                    "mark_verified",
                    creator_id=unverified[number].id,
                    operator_id=olga.id,
                    client=ClientInfo(),
                )
            except support.AddressTakenError:
                return False

    assert sorted(all_at_once(2, attempt)) == [False, True]
    assert superuser.execute(
        "SELECT count(*) FROM creators WHERE holds_email AND email = 'zoe@example.com'"
    ).fetchone() == (1,)


def test_unverified_address_gets_no_notice(
    browser: Client, run_jobs: Any, superuser: psycopg.Connection, api: API
) -> None:
    stranger = make_creator("stranger@example.com", holds_email=False, email_verified_at=None)
    record_justification(browser, stranger)
    perform(browser, stranger, "deactivate")
    perform(browser, stranger, "reactivate")
    perform(browser, stranger, "unlock")
    assert "There was nothing to do." in perform(browser, stranger, "send_reset")
    run_jobs()
    assert mail.outbox == []


def test_deletion_requires_the_typed_address(
    ada: Person, justified: Client, superuser: psycopg.Connection
) -> None:
    for typed in ("", "bob@example.com", "ada@example.co"):
        assert justified.post(url_of(ada, "delete"), {"typed": typed}).status_code == 200
    assert state_of(superuser, ada)
    assert "The account is deleted." in perform(justified, ada, "delete", typed=" Ada@Example.com ")
    assert state_of(superuser, ada) is None


def test_deletion_keeps_events_without_personal_data(
    api: API, ada: Person, bob: Person, olga: Person, justified: Client, superuser: psycopg.Connection
) -> None:
    open_session(api, ada)
    log_in(api, ada.email, "wrong")
    perform(justified, ada, "delete", typed=ada.email)
    for table in ("sessions", "refresh_tokens", "user_sessions", "security_notices"):
        count = superuser.execute(
            f"SELECT count(*) FROM {table} WHERE creator_id = %s".encode(), [ada.id]
        ).fetchone()
        assert count == (0,), table
    assert events(superuser, of=ada.id)[-2:] == ["login.failed", "account.removed"]
    creator_event = (
        "SELECT p::text FROM audit_personal_data p JOIN audit_logs a USING (id) WHERE a.creator_id = %s"
    )
    left = [text for (text,) in superuser.execute(creator_event, [ada.id])]
    assert all(ada.email not in text and "127.0.0.1" not in text for text in left)
    ((action, creator),) = superuser.execute(
        "SELECT detail->>'act', detail->>'creator' FROM audit_logs WHERE creator_id = %s "
        "AND type = 'operator.acted' ORDER BY id DESC LIMIT 1", [olga.id]
    ).fetchall()  # fmt: skip
    assert (action, creator) == ("account.removed", str(ada.id))
    assert justified.get(page_of(ada)).status_code == 404
    assert state_of(superuser, bob)


def test_deleting_a_sign_up_keeps_the_accounts_lockout(api: API, ada: Person, browser: Client) -> None:
    unverified = make_creator(ada.email, holds_email=False, email_verified_at=None)
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    record_justification(browser, unverified)
    perform(browser, unverified, "delete", typed=ada.email)
    assert log_in(api, ada.email, PASSWORD).status_code == 429


@pytest.mark.parametrize("action", ["end_sessions", "deactivate", "unlock", "send_reset"])
def test_action_is_recorded_in_both_audit_logs(
    api: API, ada: Person, olga: Person, justified: Client, action: str, superuser: psycopg.Connection
) -> None:
    log_in(api, ada.email, "wrong")
    perform(justified, ada, action)
    (creator_event,) = superuser.execute(
        "SELECT id, type, detail, request_id FROM audit_logs WHERE creator_id = %s ORDER BY id DESC LIMIT 1",
        [ada.id],
    ).fetchall()
    (operator_event,) = superuser.execute(
        "SELECT type, detail, request_id FROM audit_logs WHERE creator_id = %s ORDER BY id DESC LIMIT 1",
        [olga.id],
    ).fetchall()
    assert creator_event[1] == support.SUPPORT_ACTIONS[action].event
    assert creator_event[2]["reason"] == REASON
    assert operator_event == (
        "operator.acted",
        creator_event[2]
        | {"act": creator_event[1], "creator": str(ada.id), "event_id": str(creator_event[0])},
        creator_event[3],
    )


# --- API keys -----------------------------------------------------------------------------------
@pytest.fixture
def key(transactional_db: None) -> tuple[str, str]:
    """The key, and the page that revokes it."""
    with using_alias(OPERATOR):
        made = api_keys.create_api_key("the shop")
        assert made
        return made, f"{KEYS}{ApiKey.objects.get().pk}/revoke/"


def test_revoked_key_stops_working(
    api: API,
    ada: Person,
    browser: Client,
    key: tuple[str, str],
    olga: Person,
    superuser: psycopg.Connection,
) -> None:
    assert post_token(api, "introspect", key[0], ada.access).status_code == 200
    assert "the shop" in text_of(browser.get(KEYS))
    assert "the shop" in text_of(browser.get(key[1]))
    assert "The key is revoked." in text_of(browser.post(key[1], follow=True))
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
def test_only_security_roles_can_revoke_keys(
    key: tuple[str, str], role: str, sees: int, revokes: int, superuser: psycopg.Connection
) -> None:
    operator = make_operator("op@staff.example", role)
    client = sign_in_operator(operator)
    assert client.get(KEYS).status_code == sees
    first = client.post(key[1])
    assert first.status_code == (302 if revokes == 200 else 403)
    assert superuser.execute("SELECT revoked_at FROM api_keys").fetchone() == (None,)  # not without step-up
    reauthenticate(client, operator)
    assert client.get(key[1]).status_code == revokes


def test_list_of_keys_shows_no_digest(
    browser: Client, key: tuple[str, str], superuser: psycopg.Connection
) -> None:
    ((digest, key_id),) = superuser.execute("SELECT encode(digest, 'hex'), id FROM api_keys").fetchall()
    text = browser.get(KEYS).content.decode()
    assert digest not in text
    assert key[0] not in text
    assert browser.get(KEYS, {"digest__startswith": "a"}).status_code == 400
    for path in (f"{key_id}/change/", f"{key_id}/delete/", f"{key_id}/history/", "add/"):
        assert browser.get(KEYS + path, follow=True).status_code == 404
