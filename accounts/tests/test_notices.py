"""Security notices to the owner: their content, and how they are bundled."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import SecurityNotice
from accounts.services import notices
from accounts.tests.support.flows import link_in, log_in
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements
from tenancy.context import tenant_scope

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
NEW = "another lovely sentence"


def log_in_from(person: Person, agent: str = FIREFOX, password: str = "", **more: str) -> Any:
    body = {"email": person.email, "password": password or person.password}
    return API().post("login", body, **{"User-Agent": agent}, **more)


def add_notice(
    kind: SecurityNotice.Kind, person: Person, *, ip: str = "192.0.2.7", agent: str = FIREFOX
) -> None:
    with tenant_scope(person.id):
        notices.add(kind, creator_id=person.id, client=ClientInfo(ip_address=ip, user_agent=agent))


def age_notices(superuser: psycopg.Connection, **span: float) -> None:
    superuser.execute("UPDATE security_notices SET sent_at = sent_at - %s", [timedelta(**span)])
    superuser.execute(
        "UPDATE django_tasks_database_dbtaskresult SET run_after = run_after - %s", [timedelta(**span)]
    )


def change(person: Person) -> None:
    body = {"current_password": person.password, "new_password": NEW}
    API().post("password/change", body, token=person.access, **{"User-Agent": FIREFOX})


def reset(person: Person, run_jobs: Any) -> None:
    API().post("password/reset", {"email": person.email})
    run_jobs()
    uid, token = link_in(mail.outbox.pop())
    API().post(
        "password/reset/confirm", {"uid": uid, "token": token, "new_password": NEW}, **{"User-Agent": FIREFOX}
    )


def lock(person: Person) -> None:
    for _ in range(6):
        log_in_from(person, password="wrong")


def new_device(person: Person) -> None:
    log_in_from(person, SAFARI)
    log_in_from(person, FIREFOX)


def reuse(person: Person, superuser: psycopg.Connection) -> None:
    API().post("refresh", {"refresh": person.refresh})
    superuser.execute("UPDATE refresh_tokens SET used_at = used_at - interval '1 minute'")
    API().post("refresh", {"refresh": person.refresh}, **{"User-Agent": FIREFOX})


@pytest.mark.parametrize(
    ("act", "subject"),
    [
        (lambda ada, jobs, db: change(ada), "Your password was changed"),
        (lambda ada, jobs, db: reset(ada, jobs), "Your password was reset"),
        (lambda ada, jobs, db: lock(ada), "Signing in to your account is paused"),
        (lambda ada, jobs, db: log_in_from(ada), "New sign-in to your account"),
        (lambda ada, jobs, db: reuse(ada, db), "A copied sign-in was stopped"),
    ],
    ids=["changed", "reset", "locked", "new device", "reuse"],
)
def test_notice_says_what_when_where_and_what_to_do(
    ada: Person, run_jobs: Any, superuser: psycopg.Connection, act: Any, subject: str
) -> None:
    act(ada, run_jobs, superuser)
    run_jobs()
    (message,) = mail.outbox
    assert message.to == [ada.email]
    assert message.subject == f"Creator accounts: {subject}"
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    html = str(message.alternatives[0].content)
    for text in (message.body, html):
        assert f"{timezone.now():%H:}" in text
        assert "Device: Firefox on Linux" in " ".join(text.split())
        assert "IP address: 127.0.0.1" in " ".join(text.split())
        assert "/account/password-reset/" in text
        assert "Ada" in text
    run_jobs()
    assert len(mail.outbox) == 1


def test_lock_of_an_unknown_address_sends_no_notice(run_jobs: Any, transactional_db: None) -> None:
    make_creator("olga@example.com", is_staff=True)
    make_creator("off@example.com", is_active=False)
    make_creator("waiting@example.com", holds_email=False, email_verified_at=None)
    for name in ("nobody", "olga", "off", "waiting"):
        for _ in range(6):
            log_in(API(), f"{name}@example.com", "wrong")
    run_jobs()
    assert mail.outbox == []


def test_lock_does_the_same_work_for_all_addresses(api: API, ada: Person) -> None:
    work = []
    for email in ("first@example.com", ada.email, "nobody@example.com"):
        for _ in range(4):
            log_in(api, email, "wrong")
        with statements() as seen:
            log_in(api, email, "wrong")
        work.append(seen)
    assert work[1] == work[2]
    assert sum("record_event" in sql for sql in work[2]) == 2


def test_known_device_sends_no_notice(ada: Person, run_jobs: Any, superuser: psycopg.Connection) -> None:
    log_in_from(ada)
    run_jobs()
    mail.outbox.clear()
    age_notices(superuser, hours=1)
    log_in_from(ada, FIREFOX.replace("140", "141"))
    run_jobs()
    assert mail.outbox == []
    log_in_from(ada, SAFARI)
    run_jobs()
    assert "New sign-in" in mail.outbox[0].subject


def test_first_sign_in_sends_no_notice(run_jobs: Any, transactional_db: None) -> None:
    log_in_from(make_creator("new@example.com"))
    run_jobs()
    assert mail.outbox == []


def test_notices_within_15_minutes_are_bundled(
    ada: Person, run_jobs: Any, superuser: psycopg.Connection
) -> None:
    add_notice(SecurityNotice.Kind.NEW_DEVICE, ada)
    run_jobs()
    assert len(mail.outbox) == 1
    for _ in range(3):
        add_notice(SecurityNotice.Kind.TOKEN_REUSED, ada)
    add_notice(SecurityNotice.Kind.PASSWORD_CHANGED, ada, agent=SAFARI)
    run_jobs()
    assert len(mail.outbox) == 1
    age_notices(superuser, minutes=14, seconds=50)
    run_jobs()
    assert len(mail.outbox) == 1
    age_notices(superuser, seconds=10)
    run_jobs()
    assert len(mail.outbox) == 2
    bundle = mail.outbox[1]
    assert bundle.subject == "Creator accounts: 2 security notices about your account"
    body = " ".join(str(bundle.body).split())
    assert "This happened 3 times; the details are those of the last one." in body
    assert "Mobile Safari on iOS" in body


def test_hundred_notices_are_two_mails(ada: Person, run_jobs: Any, superuser: psycopg.Connection) -> None:
    for number in range(100):
        add_notice(SecurityNotice.Kind.TOKEN_REUSED, ada, ip=f"203.0.113.{number % 10}")
        if number % 10 == 9:
            run_jobs()
    age_notices(superuser, minutes=15)
    run_jobs()
    assert len(mail.outbox) == 2
    assert superuser.execute("SELECT count(*) FROM security_notices WHERE sent_at IS NULL").fetchone() == (0,)
    left = superuser.execute(
        "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'READY'"
    ).fetchone()
    assert left == (0,)


def test_failed_notice_is_retried(
    ada: Person, run_jobs: Any, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("accounts.mail.messages.EmailMultiAlternatives.send", _refuse)
        add_notice(SecurityNotice.Kind.PASSWORD_CHANGED, ada)
        run_jobs()
    assert mail.outbox == []
    superuser.execute("UPDATE django_tasks_database_dbtaskresult SET run_after = now()")
    run_jobs()
    assert len(mail.outbox) == 1


def _refuse(*args: Any, **kwargs: Any) -> None:
    raise ConnectionRefusedError


def test_notices_of_two_accounts_are_separate(ada: Person, bob: Person, run_jobs: Any) -> None:
    add_notice(SecurityNotice.Kind.NEW_DEVICE, ada)
    add_notice(SecurityNotice.Kind.NEW_DEVICE, bob)
    run_jobs()
    assert sorted(message.to[0] for message in mail.outbox) == [ada.email, bob.email]


def test_notice_is_in_the_language_of_the_request(ada: Person, run_jobs: Any) -> None:
    log_in_from(ada, **{"Accept-Language": "de-CH, en;q=0.5"})
    run_jobs()
    (message,) = mail.outbox
    assert message.subject == "Creator accounts: Neue Anmeldung in Ihrem Konto"
