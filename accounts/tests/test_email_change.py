"""Change of address: confirmation, notices, reservation of the old address, and undo."""

import re
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.test import Client

from accounts.exceptions import InvalidTokenError
from accounts.models import Creator, SecurityNotice
from accounts.services import email_change, lockout, password_hashing, sessions
from accounts.tests.support.flows import all_at_once, confirm, link_in, log_in, sign_up
from accounts.tokens.jwt import AccessToken
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.client import API
from tenancy.context import OPERATOR, tenant_scope, using_alias

browser = Client(raise_request_exception=False)
NEW = "another lovely sentence of hers"


@pytest.fixture(autouse=True)
def mails(settings: Any) -> list[Any]:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    return mail.outbox


class Links:
    """Requests a change and uses the links in its emails."""

    def __init__(self, api: API, run_jobs: Any, person: Person, new_email: str) -> None:
        before = len(mail.outbox)
        body = {"new_email": new_email, "password": person.password}
        assert api.post("email/change", body, token=person.access).status_code == 202
        run_jobs()
        self.api, self.run_jobs = api, run_jobs
        text = "".join(str(message.body) for message in mail.outbox[before:])
        links = {
            page: (uid, token)
            for page, uid, token in re.findall(
                r"/account/(email-change(?:/undo)?)/([\w-]{22})/([\w-]+)/", text
            )
        }
        self.confirmation, self.undo_link = links["email-change"], links["email-change/undo"]

    def confirm(self) -> int:
        uid, token = self.confirmation
        status: int = self.api.post("email/change/confirm", {"uid": uid, "token": token}).status_code
        self.run_jobs()
        return status

    def undo(self) -> int:
        uid, token = self.undo_link
        response = browser.post(f"/account/email-change/undo/{uid}/{token}/", {"confirm": "on"})
        self.run_jobs()
        return response.status_code


@pytest.fixture
def change(api: API, run_jobs: Any) -> Any:
    def request(person: Person, new_email: str = "countess@example.com") -> Links:
        return Links(api, run_jobs, person, new_email)

    return request


def email_of(person: Person) -> str:
    with using_alias(OPERATOR):
        return Creator.objects.get(pk=person.id).email


def test_newer_request_ends_the_link_to_a_mistyped_address(ada: Person, change: Any) -> None:
    typo, right = change(ada, "countes@example.com"), change(ada, "countess@example.com")
    assert typo.confirm() == 400
    assert right.confirm() == 204
    assert typo.confirm() == 400
    assert email_of(ada) == "countess@example.com"


def test_confirmation_and_undo_are_announced_to_both_addresses(ada: Person, change: Any) -> None:
    links = change(ada)
    mail.outbox.clear()
    assert links.confirm() == 204
    assert [(message.to, "was changed" in message.subject) for message in mail.outbox] == [
        ([ada.email], True), (["countess@example.com"], True),
    ]  # fmt: skip
    assert links.undo() == 302
    with using_alias(OPERATOR):
        undone = SecurityNotice.objects.filter(kind="email_change_undone").values_list("email", flat=True)
        assert sorted(undone) == [ada.email, "countess@example.com"]


def test_delayed_notice_goes_to_the_address_of_its_event(
    api: API, ada: Person, change: Any, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    links = change(ada)
    body = {"current_password": ada.password, "new_password": NEW}
    uid, token = links.confirmation
    assert api.post("email/change/confirm", {"uid": uid, "token": token}).status_code == 204
    mail.outbox.clear()
    run_jobs()  # sends the notices of the change; later ones wait 15 minutes
    assert api.post("password/change", body, token=ada.access).status_code == 204
    assert links.undo() == 302
    mail.outbox.clear()
    superuser.execute("UPDATE security_notices SET sent_at = sent_at - interval '1 hour'")
    superuser.execute("UPDATE django_tasks_database_dbtaskresult SET run_after = now()")
    run_jobs()
    to_new = next(message for message in mail.outbox if message.to == ["countess@example.com"])
    to_old = next(message for message in mail.outbox if message.to == [ada.email])
    assert "Your password was changed" in to_new.body
    assert "Your password was changed" not in to_old.body


def test_sign_out_everywhere_cancels_a_concurrent_request(
    ada: Person, monkeypatch: pytest.MonkeyPatch, superuser: psycopg.Connection
) -> None:
    """An attacker's request is verifying the password while the owner ends all sessions."""
    caller = sessions.caller_of(AccessToken.verified(ada.access))

    def meanwhile(**account: Any) -> Any:
        outcome = verify(**account)
        sessions.log_out_everywhere(creator_id=ada.id, client=ClientInfo())
        return outcome

    verify = lockout.verify_password
    monkeypatch.setattr(lockout, "verify_password", meanwhile)
    with pytest.raises(InvalidTokenError):
        email_change.request_change(
            caller, new_email="mallory@example.com", password=ada.password, client=ClientInfo()
        )
    assert superuser.execute("SELECT count(*) FROM email_changes").fetchone() == (0,)


def test_of_parallel_requests_one_is_pending(api: API, ada: Person, superuser: psycopg.Connection) -> None:
    caller = sessions.caller_of(AccessToken.verified(ada.access))
    all_at_once(
        4,
        lambda n: email_change.request_change(
            caller, new_email=f"new{n}@example.com", password=ada.password, client=ClientInfo()
        ),
    )
    rows = superuser.execute(
        "SELECT number, superseded_at IS NULL FROM email_changes ORDER BY number"
    ).fetchall()
    assert rows == [(1, False), (2, False), (3, False), (4, True)]


def test_parallel_confirm_and_undo_leave_the_old_address(transactional_db: None, change: Any) -> None:
    for n in range(5):
        ada = sign_in(make_creator(f"ada{n}@example.com"))
        links = change(ada, f"countess{n}@example.com")
        steps = (links.confirm, links.undo)
        all_at_once(2, lambda number: steps[number]())  # noqa: B023  finished before the next iteration
        assert email_of(ada) == ada.email


# --- an address stays reserved while its change can be undone --------------------------------------


@pytest.fixture
def moved(ada: Person, change: Any) -> Any:
    """A confirmed change of Ada's address that can still be undone."""
    links = change(ada)
    assert links.confirm() == 204
    mail.outbox.clear()
    return links


def assert_undone(ada: Person, moved: Any) -> None:
    assert moved.undo() == 302
    assert email_of(ada) == ada.email


def test_sign_up_at_a_reserved_address_gets_no_link(api: API, ada: Person, moved: Any, run_jobs: Any) -> None:
    sign_up(api, ada.email, "a sentence of somebody else")
    run_jobs()
    (message,) = mail.outbox
    assert message.to == [ada.email]
    assert "reserved" in message.body
    assert "/verify-email/" not in message.body
    assert_undone(ada, moved)


def test_earlier_sign_up_can_not_confirm_a_reserved_address(
    api: API, ada: Person, change: Any, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    links = change(ada)
    assert links.confirm() == 204
    superuser.execute("UPDATE email_changes SET undone_at = now()")  # temporarily not reserved
    sign_up(api, ada.email)
    mail.outbox.clear()
    run_jobs()
    link = link_in(mail.outbox[-1])
    superuser.execute("UPDATE email_changes SET undone_at = NULL")
    assert confirm(api, link).status_code == 400
    assert_undone(ada, links)


def test_reserved_address_is_not_free_without_verification(
    api: API, ada: Person, moved: Any, settings: Any
) -> None:
    settings.REQUIRE_EMAIL_VERIFICATION = False
    sign_up(api, ada.email, "a sentence of somebody else")
    assert log_in(api, ada.email, "a sentence of somebody else").status_code == 401
    assert_undone(ada, moved)


def test_another_account_can_not_move_to_a_reserved_address(
    ada: Person, bob: Person, moved: Any, api: API, run_jobs: Any
) -> None:
    body = {"new_email": ada.email, "password": bob.password}
    assert api.post("email/change", body, token=bob.access).status_code == 202
    run_jobs()
    assert not [
        message
        for message in mail.outbox
        if "/email-change/" in str(message.body) and message.to == [ada.email]
    ]
    with using_alias(OPERATOR), pytest.raises(Exception, match="reserved while its change can be undone"):
        Creator.objects.filter(pk=bob.id).update(email=ada.email)
    assert_undone(ada, moved)


def test_address_is_free_when_the_undo_has_expired(
    ada: Person, moved: Any, superuser: psycopg.Connection
) -> None:
    superuser.execute("UPDATE email_changes SET undo_expires_at = now()")
    assert make_creator(ada.email).id != ada.id


def test_owner_can_move_back_to_the_reserved_address(ada: Person, moved: Any, change: Any) -> None:
    back = change(ada, ada.email)
    assert back.confirm() == 204
    assert email_of(ada) == ada.email
    assert back.undo() == 400  # was mailed to the address in between
    assert moved.undo() == 400  # moving back was the undo


def test_sign_up_that_waited_for_the_change_sees_the_reservation(
    ada: Person, change: Any, superuser: psycopg.Connection, settings: Any
) -> None:
    """A sign-up that waits for the unique index during the change must not get the address."""
    settings.REQUIRE_EMAIL_VERIFICATION = False
    links = change(ada)
    password = "a sentence of somebody else"
    for _ in range(3):
        results = all_at_once(
            4,
            lambda n: links.confirm() if n == 0 else sign_up(API(), ada.email, password).status_code,
        )
        assert set(results[1:]) == {202}
    assert log_in(API(), ada.email, password).status_code == 401
    assert_undone(ada, links)


# --- between an undo and the reset ------------------------------------------------------------------


def test_password_must_be_reset_after_an_undo(api: API, ada: Person, moved: Any) -> None:
    uid, token = moved.undo_link
    undone = browser.post(f"/account/email-change/undo/{uid}/{token}/", {"confirm": "on"})
    assert undone.status_code == 302
    reset = undone["Location"]
    assert "your account has its old email address" in browser.get(reset).content.decode()
    attacker = log_in(api, ada.email).json()["access"]  # the attacker knows the password
    for path, body in {
        "email/change": {"new_email": "mallory@example.com", "password": PASSWORD},
        "password/change": {"current_password": PASSWORD, "new_password": NEW},
        "me/delete": {"password": PASSWORD},
    }.items():
        refused = api.post(path, body, token=attacker)
        assert (refused.status_code, refused.json()["code"]) == (403, "invalid_credentials"), path
        assert "reset the password first" in refused.json()["detail"]
    assert api.post("logout/all", token=attacker).status_code == 204  # ends no reset link
    done = browser.post(reset, {"new_password": NEW, "new_password_again": NEW})
    assert done.status_code == 302
    assert log_in(api, ada.email).status_code == 401
    access = log_in(api, ada.email, NEW).json()["access"]
    body = {"current_password": NEW, "new_password": PASSWORD}
    assert api.post("password/change", body, token=access).status_code == 204


def test_reset_request_at_a_reserved_address_sends_the_undo_link(
    api: API, ada: Person, moved: Any, run_jobs: Any
) -> None:
    api.post("password/reset", {"email": ada.email})
    run_jobs()
    (message,) = mail.outbox
    assert message.to == [ada.email]
    (undo_link,) = re.findall(r"/account/email-change/undo/([\w-]{22})/([\w-]+)/", str(message.body))
    moved.undo_link = undo_link
    assert_undone(ada, moved)


def test_change_notices_are_limited_like_other_mails(api: API, ada: Person, run_jobs: Any) -> None:
    for n in range(8):
        body = {"new_email": f"new{n}@example.com", "password": ada.password}
        assert api.post("email/change", body, token=ada.access).status_code == 202
    run_jobs()
    assert sum(message.to == [ada.email] for message in mail.outbox) <= 5
    confirmable = {message.to[0] for message in mail.outbox if message.to != [ada.email]}
    assert confirmable <= {f"new{n}@example.com" for n in range(5)}  # no unannounced change


@pytest.mark.parametrize("path", ["email/change", "password/change", "me/delete"])
@pytest.mark.parametrize("event", ["signed out everywhere", "password reset"])
def test_recovery_step_cancels_concurrent_requests(
    api: API,
    ada: Person,
    monkeypatch: pytest.MonkeyPatch,
    superuser: psycopg.Connection,
    path: str,
    event: str,
) -> None:
    """An attacker's request is verifying the password while the owner recovers the account."""

    def meanwhile(**account: Any) -> Any:
        outcome = verify(**account)
        monkeypatch.setattr(lockout, "verify_password", verify)
        if event == "password reset":
            encoded = password_hashing.hash_password(NEW)
            with tenant_scope(ada.id):
                Creator.objects.filter(pk=ada.id).update(password=encoded)
                sessions.end_sessions(creator_id=ada.id)
        else:
            sessions.log_out_everywhere(creator_id=ada.id, client=ClientInfo())
        return outcome

    verify = lockout.verify_password
    monkeypatch.setattr(lockout, "verify_password", meanwhile)
    body = {
        "email/change": {"new_email": "mallory@example.com", "password": PASSWORD},
        "password/change": {"current_password": PASSWORD, "new_password": "a sentence of the attacker's"},
        "me/delete": {"password": PASSWORD},
    }[path]
    assert api.post(path, body, token=ada.access).status_code == 401
    assert superuser.execute("SELECT count(*) FROM email_changes").fetchone() == (0,)
    assert log_in(api, ada.email, NEW if event == "password reset" else PASSWORD).status_code == 200
