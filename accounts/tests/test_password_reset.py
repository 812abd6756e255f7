"""Password reset by an emailed link."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core import mail
from django.db import connections
from django.utils import timezone

from accounts.models.creators import CreatorManager
from accounts.services import password_hashing, password_reset
from accounts.tests.support.flows import all_at_once, events, link_in, log_in, sign_up
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.database import statements

NEW = "another lovely sentence"
Link = tuple[str, str]


@pytest.fixture
def request_reset(api: API, run_jobs: Any) -> Callable[..., list[Link]]:
    """Request a reset, run the jobs, and return the links that were sent."""

    def request(email: str) -> list[Link]:
        mail.outbox.clear()
        assert api.post("password/reset", {"email": email}).status_code == 202
        run_jobs()
        return [link_in(message) for message in mail.outbox if "/account/reset/" in message.body]

    return request


@pytest.fixture
def link(ada: Person, request_reset: Callable[..., list[Link]]) -> Link:
    (link,) = request_reset(ada.email)
    return link


def confirm(link: Link, password: str = NEW) -> Any:
    body = {"uid": link[0], "token": link[1], "new_password": password}
    return API(raise_request_exception=False).post("password/reset/confirm", body)


def outcome(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"] if response.content else ""


DONE = (204, "")
INVALID = (400, "invalid_token")


def test_reset_sets_the_password_without_signing_in(
    api: API, ada: Person, link: Link, superuser: psycopg.Connection
) -> None:
    response = confirm(link)
    assert outcome(response) == DONE
    assert response.content == b""
    assert log_in(api, ada.email, ada.password).status_code == 401
    assert log_in(api, ada.email, NEW).status_code == 200
    assert "password.reset" in events(superuser, of=ada.id)


def test_reset_ends_every_session_and_access_token(api: API, ada: Person, link: Link) -> None:
    sign_in(second := Person(ada.id, ada.email))
    assert outcome(confirm(link)) == DONE
    for person in (ada, second):
        assert api.get("me", token=person.access).status_code == 401
        assert api.post("refresh", {"refresh": person.refresh}).status_code == 401


def test_reset_unlocks_the_account(api: API, ada: Person, link: Link) -> None:
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    assert log_in(api, ada.email).status_code == 429
    assert outcome(confirm(link)) == DONE
    assert log_in(api, ada.email, NEW).status_code == 200


def test_owner_is_notified_of_the_reset(ada: Person, link: Link, run_jobs: Any) -> None:
    mail.outbox.clear()
    confirm(link)
    run_jobs()
    (notice,) = mail.outbox
    assert notice.to == [ada.email]
    assert "Your password was reset" in notice.subject


def test_link_works_once(link: Link) -> None:
    assert outcome(confirm(link)) == DONE
    assert outcome(confirm(link, "yet another sentence")) == INVALID


def test_of_fifty_parallel_uses_one_wins(api: API, ada: Person, link: Link) -> None:
    passwords = [f"sentence number {number} wins" for number in range(50)]
    outcomes = all_at_once(50, lambda number: outcome(confirm(link, passwords[number])))
    assert sorted(outcomes) == [DONE] + [INVALID] * 49
    assert log_in(api, ada.email, passwords[outcomes.index(DONE)]).status_code == 200


def test_of_two_uses_that_passed_the_first_check_one_wins(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forces the race: both requests are between the first check and the update."""
    barrier = threading.Barrier(2)
    hash_password = password_hashing.hash_password

    def wait_for_other(password: str) -> str:
        barrier.wait(10)
        return hash_password(password)

    monkeypatch.setattr(password_hashing, "hash_password", wait_for_other)
    assert sorted(all_at_once(2, lambda _n: outcome(confirm(link)))) == [DONE, INVALID]


def test_parallel_uses_of_two_links_have_one_winner(
    ada: Person, request_reset: Callable[..., list[Link]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each use ends the other link, so the links must be checked while the account is locked."""
    links = [*request_reset(ada.email), *request_reset(ada.email)]
    barrier, end_links = threading.Barrier(2), CreatorManager.end_links

    def wait_for_other(self: CreatorManager, creator_id: UUID) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(0.5)
        end_links(self, creator_id)

    monkeypatch.setattr(CreatorManager, "end_links", wait_for_other)
    assert sorted(all_at_once(2, lambda number: outcome(confirm(links[number])))) == [DONE, INVALID]


def test_link_expires_to_the_second(
    ada: Person, link: Link, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (end,) = superuser.execute("SELECT expires_at FROM password_reset_tokens").fetchone()  # type: ignore[misc]
    assert timedelta(minutes=14, seconds=50) < end - timezone.now() <= timedelta(minutes=15)
    at = end
    monkeypatch.setattr(password_reset.timezone, "now", lambda: at)
    assert outcome(confirm(link)) == INVALID
    at = end - timedelta(microseconds=1)
    assert outcome(confirm(link)) == DONE


def test_at_most_three_links_are_valid_and_one_use_ends_all(
    ada: Person, request_reset: Callable[..., list[Link]]
) -> None:
    links = [link for _ in range(5) for link in request_reset(ada.email)]
    assert len(links) == 5
    assert [password_reset.is_usable(*link) for link in links] == [False, False, True, True, True]
    assert outcome(confirm(links[0])) == INVALID
    assert outcome(confirm(links[3])) == DONE
    assert not any(password_reset.is_usable(*link) for link in links)


def test_weak_password_does_not_use_the_link(link: Link) -> None:
    weak = confirm(link, "too short")
    assert outcome(weak) == (400, "invalid_input")
    assert [(error["field"], error["code"]) for error in weak.json()["errors"]] == [
        ("new_password", "password_too_short")
    ]
    assert outcome(confirm(link, "ada@example.com-1")) == (400, "invalid_input")
    assert outcome(confirm(link)) == DONE


@pytest.mark.parametrize(
    "forge",
    [
        lambda uid, token: (uid, token[:-1] + ("A" if token[-1] != "A" else "B")),
        lambda uid, token: (uid, token + "="),
        lambda uid, token: (uid, ""),
        lambda uid, token: (uid.swapcase(), token),
        lambda uid, token: (uid + "=", token),
        lambda uid, token: ("", token),
        lambda uid, token: ("AAAAAAAAAAAAAAAAAAAAAA", token),
        lambda uid, token: (uid, "\u00e9" * 10),
        lambda uid, token: (uid, "x" * 128),
    ],
)
def test_forged_link_is_refused(link: Link, forge: Callable[..., Link]) -> None:
    assert confirm(forge(*link)).status_code == 400
    assert password_reset.is_usable(*link)


def test_uid_and_token_of_different_creators_are_refused(
    ada: Person, bob: Person, link: Link, request_reset: Callable[..., list[Link]]
) -> None:
    (bobs,) = request_reset(bob.email)
    assert outcome(confirm((bobs[0], link[1]))) == INVALID
    assert outcome(confirm((link[0], bobs[1]))) == INVALID
    assert password_reset.is_usable(*link)
    assert password_reset.is_usable(*bobs)


def test_only_active_creators_get_the_mail(
    api: API, ada: Person, request_reset: Callable[..., list[Link]]
) -> None:
    make_creator("olga@example.com", is_staff=True)
    make_creator("off@example.com", is_active=False)
    sign_up(api, "waiting@example.com")
    for address in ("olga@example.com", "off@example.com", "waiting@example.com", "nobody@example.com"):
        assert request_reset(address) == [], address
    assert len(request_reset(" ADA@Example.COM ")) == 1


def test_deactivated_account_can_not_use_the_link(
    ada: Person, link: Link, superuser: psycopg.Connection
) -> None:
    superuser.execute("UPDATE creators SET is_active = false")
    assert outcome(confirm(link)) == INVALID


def test_response_and_work_are_the_same_for_every_address(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    results = []
    for address in ("first@example.com", ada.email, "nobody@example.com"):
        with statements() as work:
            response = api.post("password/reset", {"email": address})
        results.append((response.status_code, response.json(), sorted(response.headers), work))
    assert results[1] == results[2]
    assert events(superuser) == ["password.reset_requested"] * 3


def test_token_is_neither_stored_nor_logged(
    ada: Person, link: Link, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    page = f"/account/reset/{link[0]}/{link[1]}/"
    API().generic("GET", page)
    confirm(link)
    (digests,) = superuser.execute(
        "SELECT string_agg(digest::text, '') FROM password_reset_tokens"
    ).fetchone()  # type: ignore[misc]
    assert link[1].encode().hex() not in digests
    (jobs,) = superuser.execute(
        "SELECT string_agg(t::text, '') FROM django_tasks_database_dbtaskresult t"
    ).fetchone()  # type: ignore[misc]
    assert link[1] not in jobs
    assert ada.email not in jobs
    assert link[1] not in caplog.text + "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_of_the_page_does_not_use_the_link(link: Link, method: str) -> None:
    page = f"/account/reset/{link[0]}/{link[1]}/"
    for _ in range(3):
        response = API().generic(method, page)
        assert response.status_code == 200
        assert response["Referrer-Policy"] == "same-origin"
        assert "no-store" in response["Cache-Control"]
        assert "default-src 'none'" in response["Content-Security-Policy"]
    assert outcome(confirm(link)) == DONE
    assert API().generic(method, page).status_code == 400


def test_sign_in_that_started_before_a_reset_fails(
    api: API, ada: Person, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory's sign-in is verifying the old password while Ada resets it."""
    verified, may_finish = threading.Event(), threading.Event()
    verify = password_hashing.verify

    def paused(password: str, encoded: str | None) -> password_hashing.VerificationResult:
        verdict = verify(password, encoded)
        if not verified.is_set():
            verified.set()
            assert may_finish.wait(10)
        return verdict

    monkeypatch.setattr(password_hashing, "verify", paused)

    def sign_in_as_mallory() -> int:
        try:
            return int(log_in(API(), ada.email, ada.password).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        mallory = pool.submit(sign_in_as_mallory)
        assert verified.wait(10)
        assert outcome(confirm(link)) == DONE
        may_finish.set()
        assert mallory.result() == 401


def test_parallel_sign_ins_that_upgrade_the_hash_succeed(
    api: API, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import make_password

    imported = make_creator(
        "imported@example.com", password=make_password("an old password", hasher="bcrypt")
    )
    barrier = threading.Barrier(2)
    verify = password_hashing.verify

    def wait_for_other(password: str, encoded: str | None) -> password_hashing.VerificationResult:
        verdict = verify(password, encoded)
        if verdict.needs_upgrade:
            barrier.wait(10)
        return verdict

    monkeypatch.setattr(password_hashing, "verify", wait_for_other)
    assert all_at_once(2, lambda _n: log_in(API(), imported.email, "an old password").status_code) == [
        200,
        200,
    ]


def test_reset_that_can_not_be_recorded_is_rolled_back(
    ada: Person, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Password, event and notice are in one transaction."""
    monkeypatch.setattr("accounts.services.notices.add", fail)
    with pytest.raises(RuntimeError):
        password_reset.reset_password(uid=link[0], token=link[1], new_password=NEW, client=ClientInfo())
    assert password_reset.is_usable(*link)
    assert log_in(API(), ada.email, ada.password).status_code == 200


def fail(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError
