"""A signed-in creator changes the password."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.db import connections

from accounts.models import Creator
from accounts.services import password_change, password_hashing, password_reset
from accounts.tests.support.flows import all_at_once, events, link_in, log_in
from config.tests.support.accounts import Person, sign_in
from config.tests.support.client import API
from tenancy.context import tenant_scope

NEW = "another lovely sentence"


def change(person: Person, current: str, new: str = NEW) -> Any:
    body = {"current_password": current, "new_password": new}
    return API(raise_request_exception=False).post("password/change", body, token=person.access)


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"] if response.content else ""


def test_other_sessions_end_and_the_current_one_stays(
    api: API, ada: Person, superuser: psycopg.Connection, run_jobs: Any
) -> None:
    sign_in(other := Person(ada.id, ada.email))
    assert code(change(ada, ada.password)) == (204, "")
    assert api.get("me", token=ada.access).status_code == 200
    assert api.post("refresh", {"refresh": ada.refresh}).status_code == 200
    assert api.get("me", token=other.access).status_code == 401
    assert api.post("refresh", {"refresh": other.refresh}).status_code == 401
    assert log_in(api, ada.email, ada.password).status_code == 401
    assert log_in(api, ada.email, NEW).status_code == 200
    assert "password.changed" in events(superuser, of=ada.id)
    run_jobs()
    assert any("Your password was changed" in message.subject for message in mail.outbox)


def test_other_creators_stay_signed_in(api: API, ada: Person, bob: Person) -> None:
    change(ada, ada.password)
    assert api.get("me", token=bob.access).status_code == 200


def test_wrong_current_password_counts_towards_the_lockout(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    for _ in range(3):
        assert code(change(ada, "wrong")) == (403, "invalid_credentials")
    for _ in range(2):
        log_in(api, ada.email, "wrong")
    locked = change(ada, ada.password)
    assert code(locked) == (429, "account_locked")
    assert int(locked["Retry-After"]) > 1700
    assert log_in(api, ada.email).status_code == 429
    assert api.get("me", token=ada.access).status_code == 200
    assert events(superuser, of=ada.id).count("password.check_failed") == 3


def test_weak_new_password_changes_nothing(api: API, ada: Person) -> None:
    response = change(ada, ada.password, "short")
    assert code(response) == (400, "invalid_input")
    assert [error["field"] for error in response.json()["errors"]] == ["new_password"]
    assert log_in(api, ada.email).status_code == 200


def test_access_token_is_required(api: API, transactional_db: None) -> None:
    body = {"current_password": "x", "new_password": NEW}
    assert code(api.post("password/change", body)) == (401, "invalid_token")


def test_reset_links_of_the_old_password_end(api: API, ada: Person, run_jobs: Any) -> None:
    api.post("password/reset", {"email": ada.email})
    run_jobs()
    link = link_in(mail.outbox[-1])
    assert password_reset.is_usable(*link)
    change(ada, ada.password)
    assert not password_reset.is_usable(*link)


def test_of_concurrent_changes_one_succeeds(api: API, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier, validated = threading.Barrier(2), set()
    validate = password_hashing.validate

    def validate_together(*args: Any, **kwargs: Any) -> None:
        validate(*args, **kwargs)
        if threading.get_ident() not in validated:
            validated.add(threading.get_ident())
            barrier.wait(10)

    monkeypatch.setattr(password_hashing, "validate", validate_together)
    words = ["first lovely sentence", "second lovely sentence"]
    statuses = all_at_once(2, lambda number: change(ada, ada.password, words[number]).status_code)
    assert sorted(statuses) == [204, 403]
    assert log_in(api, ada.email, words[statuses.index(204)]).status_code == 200


def test_change_succeeds_after_a_concurrent_upgrade(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign-in upgrades the hash of the old password between verification and change."""
    confirm = password_change.confirm_password
    rehashed = password_hashing.hash_password(ada.password)
    calls: list[str] = []

    def confirm_then_rehash(*args: Any, **kwargs: Any) -> str:
        encoded = confirm(*args, **kwargs)
        if not calls:
            with tenant_scope(ada.id):
                Creator.objects.filter(pk=ada.id).update(password=rehashed)
        calls.append(encoded)
        return encoded

    monkeypatch.setattr(password_change, "confirm_password", confirm_then_rehash)
    assert code(change(ada, ada.password)) == (204, "")
    assert len(calls) == 2
    assert log_in(api, ada.email, NEW).status_code == 200


def test_hash_that_changes_during_each_verification_ends_the_change(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm, calls = password_change.confirm_password, []

    def confirm_then_rehash(*args: Any, **kwargs: Any) -> str:
        calls.append(confirm(*args, **kwargs))
        rehashed = password_hashing.hash_password(ada.password)
        with tenant_scope(ada.id):
            Creator.objects.filter(pk=ada.id).update(password=rehashed)
        return calls[-1]

    monkeypatch.setattr(password_change, "confirm_password", confirm_then_rehash)
    assert code(change(ada, ada.password)) == (429, "rate_limited")
    assert len(calls) == password_hashing.MAX_VERIFICATIONS


def test_reset_wins_over_an_earlier_change(
    api: API, ada: Person, run_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory has a session and the old password, and changes it while Ada resets it."""
    api.post("password/reset", {"email": ada.email})
    run_jobs()
    uid, token = link_in(mail.outbox[-1])
    validated, go = threading.Event(), threading.Event()
    validate = password_hashing.validate

    def paused(password: str, **facts: Any) -> None:
        validate(password, **facts)
        if password == "Mallory's own sentence":
            validated.set()
            assert go.wait(10)

    monkeypatch.setattr(password_hashing, "validate", paused)

    def mallory() -> int:
        try:
            return int(change(ada, ada.password, "Mallory's own sentence").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(mallory)
        assert validated.wait(10)
        body = {"uid": uid, "token": token, "new_password": NEW}
        assert api.post("password/reset/confirm", body).status_code == 204
        go.set()
        assert changing.result() == 401
    assert log_in(api, ada.email, NEW).status_code == 200


def test_account_deleted_meanwhile_is_an_invalid_token(
    ada: Person, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm = password_change.confirm_password

    def deleted_first(*args: Any, **kwargs: Any) -> str:
        superuser.execute("DELETE FROM creators")
        return confirm(*args, **kwargs)

    monkeypatch.setattr(password_change, "confirm_password", deleted_first)
    assert code(change(ada, ada.password)) == (401, "invalid_token")
