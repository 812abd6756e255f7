"""Export, deletion, and change of address."""

import re
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.models import Creator
from accounts.services import account_deletion, lockout
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API
from tenancy.context import OPERATOR, tenant_scope, using_alias

browser = Client(raise_request_exception=False)


@pytest.fixture(autouse=True)
def mails(settings: Any) -> list[Any]:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    return mail.outbox


def link(message: Any, page: str) -> tuple[str, str]:
    match = re.search(rf"/{page}/([^/\s]+)/([^/\s]+)/", str(message.body))
    assert match, message.body
    return match[1], match[2]


def test_export_has_the_account_data_and_no_secret(api: API, ada: Person, bob: Person) -> None:
    api.post("/api/v1/end-users/sessions", {"creator": str(ada.id), "metadata": {"x": 1}})
    response = api.get("me/export", token=ada.access)
    data = response.json()
    assert data["profile"]["email"] == ada.email
    assert len(data["sessions"]) == len(data["end_user_sessions"]) == 1
    assert [event["type"] for event in data["audit_events"]] == ["account.exported"]
    text = response.content.decode()
    assert bob.email not in text
    for secret in ("argon2", "digest", "password_hash", "salt"):
        assert secret not in text


def test_deleted_account_leaves_events_without_personal_data(
    api: API, ada: Person, bob: Person, superuser: Any
) -> None:
    api.post("login", {"email": ada.email, "password": ada.password})
    assert api.post("me/delete", {"password": "wrong"}, token=ada.access).status_code == 403
    assert api.post("me/delete", {"password": ada.password}, token=ada.access).status_code == 204
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("login", {"email": ada.email, "password": ada.password}).status_code == 401
    for table in ("sessions", "refresh_tokens", "user_sessions", "audit_personal_data", "jwt_blacklist"):
        rows = superuser.execute(f"SELECT count(*) FROM {table} WHERE creator_id = %s", [ada.id])
        assert rows.fetchone() == ((1,) if table == "audit_personal_data" else (0,)), table
    remaining = superuser.execute(
        "SELECT coalesce(host(ip_address), ''), user_agent, email FROM audit_personal_data WHERE creator_id = %s",
        [ada.id],
    ).fetchone()
    assert remaining == ("", "", "")
    types = superuser.execute("SELECT type FROM audit_logs WHERE creator_id = %s", [ada.id]).fetchall()
    assert ("login.succeeded",) in types
    assert ("account.deleted",) in types
    assert api.get("me", token=bob.access).status_code == 200


def test_sign_in_during_deletion_leaves_no_personal_data(
    api: API, ada: Person, superuser: Any, run_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify_during_deletion(**account: Any) -> Any:
        outcome = verify(**account)
        with tenant_scope(ada.id):
            account_deletion.delete_account_rows(ada.id)
        return outcome

    verify = lockout.verify_password
    monkeypatch.setattr(lockout, "verify_password", verify_during_deletion)
    assert api.post("login", {"email": ada.email, "password": "wrong"}).status_code == 401
    remaining = "SELECT count(*) FROM audit_personal_data WHERE creator_id = %s AND email <> ''"
    assert superuser.execute(remaining, [ada.id]).fetchone() == (1,)
    superuser.execute("UPDATE django_tasks_database_dbtaskresult SET run_after = now()")
    assert run_jobs() == 1
    assert superuser.execute(remaining, [ada.id]).fetchone() == (0,)


def test_wrong_passwords_of_a_signed_in_creator_lock_the_account(api: API, ada: Person) -> None:
    for n in range(5):
        path, body = [("me/delete", {}), ("email/change", {"new_email": "new@example.com"})][n % 2]
        assert api.post(path, body | {"password": "wrong"}, token=ada.access).status_code == 403
    response = api.post("me/delete", {"password": ada.password}, token=ada.access)
    assert (response.status_code, response.json()["code"]) == (429, "account_locked")
    assert api.post("login", {"email": ada.email, "password": ada.password}).status_code == 429


def change(api: API, ada: Person, new_email: str = "Countess@example.com") -> None:
    body = {"new_email": new_email, "password": ada.password}
    assert api.post("email/change", body, token=ada.access).status_code == 202


def test_address_changes_when_the_new_one_is_confirmed(api: API, ada: Person, run_jobs: Any) -> None:
    change(api, ada)
    run_jobs()
    to_new, to_old = mail.outbox
    assert (to_new.to, to_old.to) == (["countess@example.com"], [ada.email])
    uid, token = link(to_new, "email-change")
    page = f"/account/email-change/{uid}/{token}/"
    assert api.generic("GET", page).status_code == 200
    assert api.get("me", token=ada.access).json()["email"] == ada.email
    assert api.post("email/change/confirm", {"uid": uid, "token": token}).status_code == 204
    assert api.get("me", token=ada.access).json()["email"] == "countess@example.com"
    assert api.post("email/change/confirm", {"uid": uid, "token": token}).status_code == 400
    assert api.generic("GET", page).status_code == 400


def test_undo_restores_the_address_and_ends_all_sessions(api: API, ada: Person, run_jobs: Any) -> None:
    change(api, ada)
    run_jobs()
    uid, token = link(mail.outbox[0], "email-change")
    api.post("email/change/confirm", {"uid": uid, "token": token})
    undo_uid, undo_token = link(mail.outbox[1], "email-change/undo")
    page = f"/account/email-change/undo/{undo_uid}/{undo_token}/"
    assert api.generic("GET", page).status_code == 200
    assert browser.post(page, {}).status_code == 400
    assert api.get("me", token=ada.access).status_code == 200
    assert browser.post(page, {"confirm": "on"}).status_code == 302
    assert api.get("me", token=ada.access).status_code == 401
    assert api.post("login", {"email": ada.email, "password": PASSWORD}).status_code == 200
    assert browser.post(page, {"confirm": "on"}).status_code == 400


def test_change_page_asks_for_the_password(api: API, ada: Person, run_jobs: Any) -> None:
    """Some mail scanners submit forms, but they do not know the password."""
    change(api, ada)
    run_jobs()
    uid, token = link(mail.outbox[0], "email-change")
    page = f"/account/email-change/{uid}/{token}/"
    html = browser.get(page).content.decode()
    assert 'value="countess@example.com" autocomplete="username"' in html
    assert ada.email not in html  # a stranger may read it if the new address was mistyped
    for body in ({}, {"password": ""}, {"password": "wrong"}):
        assert browser.post(page, body).status_code == 400, body
    assert api.get("me", token=ada.access).json()["email"] == ada.email
    assert browser.post(page, {"password": PASSWORD}).status_code == 302
    assert api.get("me", token=ada.access).json()["email"] == "countess@example.com"


def test_wrong_passwords_on_the_change_page_lock_the_account(api: API, ada: Person, run_jobs: Any) -> None:
    change(api, ada)
    run_jobs()
    uid, token = link(mail.outbox[0], "email-change")
    page = f"/account/email-change/{uid}/{token}/"
    for _ in range(5):
        assert browser.post(page, {"password": "wrong"}).status_code == 400
    locked = browser.post(page, {"password": PASSWORD})
    assert locked.status_code == 429
    assert 1700 < int(locked["Retry-After"]) <= 1800
    assert api.post("login", {"email": ada.email, "password": PASSWORD}).status_code == 429


def test_taken_address_gets_no_link(api: API, ada: Person, bob: Person, run_jobs: Any) -> None:
    change(api, ada, bob.email)
    run_jobs()
    to_bob = next(message for message in mail.outbox if message.to == [bob.email])
    assert "email-change" not in to_bob.body


def test_link_is_invalid_if_the_address_was_taken(api: API, ada: Person, run_jobs: Any) -> None:
    change(api, ada)
    run_jobs()
    uid, token = link(mail.outbox[0], "email-change")
    make_creator("countess@example.com")
    assert api.post("email/change/confirm", {"uid": uid, "token": token}).status_code == 400
    with using_alias(OPERATOR):
        assert Creator.objects.get(pk=ada.id).email == ada.email
