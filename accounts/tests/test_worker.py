"""The mail queue: nothing is lost, nothing is kept, and one bad job stops nobody."""

import smtplib
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.db import OperationalError
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.jobs import maintenance, worker
from accounts.jobs.worker import Worker, requeue_stale_jobs
from accounts.mail import messages
from accounts.ratelimits import limits
from accounts.tests.support.flows import confirm, events, link_in, log_lines, sign_up
from accounts.tests.support.jobs import jobs, later
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

GERMAN = {"Accept-Language": "de"}


@pytest.fixture(autouse=True)
def mail_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAILS_FROM_ONE_NETWORK", 1000)


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`mail_server["down"] = error` stops it, for all addresses or one."""
    state: dict[str, Any] = {"down": None, "refuses": None}
    send = mail.EmailMultiAlternatives.send

    def sending(self: mail.EmailMultiAlternatives, *args: Any, **kwargs: Any) -> int:
        if state["down"]:
            raise state["down"]
        if state["refuses"] in self.to:
            raise smtplib.SMTPRecipientsRefused({})
        return send(self, *args, **kwargs)

    monkeypatch.setattr(mail.EmailMultiAlternatives, "send", sending)
    return state


def test_mail_waits_for_the_mail_server_and_none_is_lost(
    api: API, run_jobs: Any, mailoutbox: list[Any], mail_server: Any, superuser: psycopg.Connection
) -> None:
    addresses = [f"creator{number}@example.com" for number in range(5)]
    for address in addresses:
        sign_up(api, address)
    mail_server["down"] = ConnectionRefusedError("no mail server")
    assert run_jobs() == 5
    assert run_jobs() == 0  # each later, not at once
    assert jobs(superuser) == [("READY", 1)] * 5
    later(superuser, seconds=6)
    assert run_jobs() == 5
    later(superuser, seconds=6)
    assert run_jobs() == 0  # twice as late
    later(superuser, seconds=6)
    mail_server["down"] = None
    assert run_jobs() == 5
    assert [message.to for message in mailoutbox] == [[address] for address in addresses]
    assert jobs(superuser) == [("SUCCESSFUL", 3)] * 5
    assert confirm(api, link_in(mailoutbox[4])).status_code == 200


def test_waits_grow_to_a_quarter_of_an_hour_and_no_longer(
    api: API, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["down"] = smtplib.SMTPServerDisconnected()
    sign_up(api, "zoe@example.com")
    waits = []
    for _ in range(12):
        run_jobs()
        with using_alias(OPERATOR):
            waits.append(round((DBTaskResult.objects.get().run_after - timezone.now()).total_seconds()))
        later(superuser, minutes=15)
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 900
    assert waits == sorted(waits)


def test_poisoned_job_stops_nobody(
    api: API, run_jobs: Any, mailoutbox: list[Any], mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["refuses"] = "poison@example.com"
    for address in ("poison@example.com", "zoe@example.com", "yan@example.com"):
        sign_up(api, address)
    with using_alias(OPERATOR):  # and one whose code is gone
        DBTaskResult.objects.filter(args_kwargs__args__contains=["yan@example.com"]).update(
            task_path="accounts.tasks.no_such_task"
        )
    assert run_jobs() == 3
    assert [message.to for message in mailoutbox] == [["zoe@example.com"]]
    assert jobs(superuser) == [("READY", 1), ("SUCCESSFUL", 1), ("READY", 1)]


def test_job_of_a_killed_worker_is_taken_up_after_its_lease(
    api: API, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")
    with using_alias(OPERATOR):
        assert Worker("killed in the middle")._claim() is not None
        assert requeue_stale_jobs() == 0
    assert run_jobs() == 0
    later(superuser, minutes=2)
    with using_alias(OPERATOR):
        assert requeue_stale_jobs() == 1
    assert run_jobs() == 1
    assert len(mailoutbox) == 1
    assert jobs(superuser) == [("SUCCESSFUL", 2)]


def test_two_workers_never_take_the_same_job(api: API, superuser: psycopg.Connection) -> None:
    from accounts.tests.support.flows import all_at_once

    for number in range(6):
        sign_up(api, f"creator{number}@example.com")

    def claim(number: int) -> Any:
        with using_alias(OPERATOR):
            return Worker(f"worker {number}")._claim()

    claimed = [job.pk for job in all_at_once(6, claim) if job is not None]
    assert len(claimed) == len(set(claimed)) == 6


def test_finished_job_keeps_no_address(api: API, run_jobs: Any, superuser: psycopg.Connection) -> None:
    sign_up(api, "zoe@example.com")
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    rows = "SELECT t::text FROM django_tasks_database_dbtaskresult t"
    assert all("zoe@example.com" in row for (row,) in superuser.execute(rows))
    run_jobs()
    assert not any("zoe@" in row for (row,) in superuser.execute(rows))


def test_job_is_given_up_after_days_and_keeps_no_address_then_either(
    api: API, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["down"] = smtplib.SMTPAuthenticationError(535, b"no entry for zoe@example.com")
    sign_up(api, "zoe@example.com")
    run_jobs()
    later(superuser, days=2, hours=23)
    run_jobs()
    assert jobs(superuser) == [("READY", 2)]
    later(superuser, hours=2)
    with log_lines() as lines:
        run_jobs()
    assert jobs(superuser) == [("FAILED", 3)]
    (row,) = superuser.execute("SELECT t::text FROM django_tasks_database_dbtaskresult t").fetchone()  # type: ignore[misc]
    assert "zoe@" not in row
    assert "SMTPAuthenticationError" in row + lines.getvalue()
    assert "zoe@" not in lines.getvalue()


def test_taken_address_is_recorded_once_however_often_its_mail_fails(
    api: API, ada: Person, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    sign_up(api, ada.email)
    mail_server["down"] = TimeoutError()
    for _ in range(3):
        run_jobs()
        later(superuser, minutes=15)
    assert "registration.repeated" not in events(superuser)
    mail_server["down"] = None
    run_jobs()
    assert events(superuser).count("registration.repeated") == 1


def test_database_that_goes_away_under_a_job_leaves_it_to_its_lease(
    api: API, monkeypatch: pytest.MonkeyPatch, superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")

    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(messages, "send", gone)
    with using_alias(OPERATOR), pytest.raises(OperationalError):
        Worker("test").run_one()
    assert jobs(superuser) == [("RUNNING", 1)]


def test_worker_outlives_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Worker("test")
    tried = []

    def away(self: Worker) -> bool:
        tried.append(1)
        if len(tried) == 3:
            self.stop()
        raise OperationalError

    monkeypatch.setattr(Worker, "run_one", away)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    with using_alias(OPERATOR):
        runner.run()
    assert len(tried) == 3


def test_mails_are_text_and_html(api: API, ada: Person, run_jobs: Any, mailoutbox: list[Any]) -> None:
    sign_up(api, "zoe@example.com")
    sign_up(api, ada.email)
    run_jobs()
    for message in mailoutbox:
        ((html, kind),) = message.alternatives
        assert kind == "text/html"
        assert "<html" in html
        assert "<script" not in html
        assert "<" not in message.body.replace("<http", "")
        assert "\n" not in message.subject
        assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    link = "/account/verify-email/{}/{}/".format(*link_in(mailoutbox[0]))
    assert link in mailoutbox[0].alternatives[0][0]
    assert "24 hours" in mailoutbox[0].body


def test_mails_speak_the_language_of_the_request(
    api: API, ada: Person, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    for address in ("zoe@example.com", ada.email):
        sign_up(api, address, **GERMAN)
        sign_up(api, address, **{"Accept-Language": "xx"})
    run_jobs()
    german, english, german_taken, english_taken = mailoutbox
    for one, other in ((german, english), (german_taken, english_taken)):
        assert one.subject != other.subject
        assert "E-Mail" in one.body
        assert "Guten Tag" in one.body
        assert "Hello" in other.body
        assert 'lang="de"' in one.alternatives[0][0]


def test_name_of_an_unproved_sign_up_is_in_no_mail(api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    """Else the service mails Mallory's words to strangers."""
    body = {
        "email": "victim@example.com",
        "password": "a lovely sentence",
        "display_name": "Visit evil.example",
    }
    api.post("register", body)
    run_jobs()
    (message,) = mailoutbox
    assert "evil" not in message.subject + message.body + message.alternatives[0][0]


def everything_stored(superuser: psycopg.Connection) -> str:
    """Each row of each table as text; bytes both as they are written out and as they read."""
    found = superuser.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    text = []
    for (table,) in found:
        for (row,) in superuser.execute(f"SELECT row_to_json(t)::text FROM {table} t".encode()):
            byte_columns = (part.partition('"')[0] for part in row.split('"\\\\x')[1:])
            text += [row, *(bytes.fromhex(column).decode("latin-1") for column in byte_columns)]
    return "\n".join(text)


def test_no_secret_is_stored_in_clear(
    api: API, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    password = "a sentence that must not be kept"
    sign_up(api, "zoe@example.com", password)
    before = everything_stored(superuser)
    run_jobs()
    link = link_in(mailoutbox[0])
    api.post("email/verify", {"uid": link[0], "token": link[1], "password": "a wrong one, also secret"})
    pair = confirm(api, link, password).json()
    newer = api.post("refresh", {"refresh": pair["refresh"]}).json()
    api.post("logout", {"refresh": newer["refresh"]}, token=newer["access"])
    stored = before + everything_stored(superuser)
    assert "zoe@example.com" in stored  # the search works
    assert "argon2id" in stored
    secrets = [link[1], password, "a wrong one, also secret"]
    for token in (*pair.values(), *newer.values()):
        if isinstance(token, str) and token.count(".") == 2:
            secrets += [token, *token.split(".")[1:]]
    for secret in secrets:
        assert secret not in stored
        assert secret.encode().hex() not in stored


def test_sign_up_waits_for_its_mail_as_long_as_the_queue_tries(
    api: API, run_jobs: Any, superuser: psycopg.Connection, mailoutbox: list[Any]
) -> None:
    sign_up(api, "zoe@example.com")
    superuser.execute("UPDATE creators SET created_at = now() - interval '3 days 23 hours'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 0
    run_jobs()  # the mail server is back
    superuser.execute("UPDATE creators SET created_at = now() - interval '30 days'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 0  # its link lives
    superuser.execute("UPDATE email_verification_tokens SET expires_at = now() - interval '1 second'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 1


def test_pruning_takes_what_is_over_and_nothing_else(
    ada: Person, bob: Person, superuser: psycopg.Connection
) -> None:
    superuser.execute(
        "UPDATE sessions SET expires_at = now() - interval '1 s' WHERE creator_id = %s", [ada.id]
    )
    with using_alias(OPERATOR):
        pruned = maintenance.prune_expired()
    assert (pruned["sessions"], pruned["creators"]) == (1, 0)
    left = superuser.execute("SELECT creator_id FROM refresh_tokens").fetchall()
    assert left == [(bob.id,)]


ODD_JOBS = [
    "worker_ids = '5'",
    "worker_ids = '[\"x\"]'",
    "args_kwargs = '[]'",
    'args_kwargs = \'{"args": {}, "kwargs": {}}\'',
    "enqueued_at = 'infinity'",
    "run_after = 'infinity'",
    "run_after = '10000-01-01'",
    "status = 'RUNNING'",
    "backend_name = 'other'",
]


@pytest.mark.parametrize("odd", ODD_JOBS)
def test_app_can_not_queue_a_job_that_the_worker_can_not_read(
    ada: Person, superuser: psycopg.Connection, odd: str
) -> None:
    column, _, value = odd.partition(" = ")
    row = {
        "id": "gen_random_uuid()", "status": "'READY'", "enqueued_at": "now()", "priority": "0", "run_after": "now()",
        "args_kwargs": "'{\"args\": [], \"kwargs\": {}}'", "task_path": "'accounts.tasks.send_reset_mail'",
        "worker_ids": "'[]'", "queue_name": "'default'", "backend_name": "'default'", "exception_class_path": "''",
        "traceback": "''",
    }  # fmt: skip

    def insert(row: dict[str, str]) -> None:
        columns, values = ", ".join(row), ", ".join(row.values())
        superuser.execute(
            f"INSERT INTO django_tasks_database_dbtaskresult ({columns}) VALUES ({values})".encode()
        )

    insert(row)
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(row | {column: value})


def test_job_that_can_not_be_claimed_fails_and_the_next_one_is_done(
    ada: Person, run_jobs: Any, superuser: psycopg.Connection, mailoutbox: list[Any]
) -> None:
    API().post("password/reset", {"email": ada.email})
    superuser.execute("UPDATE django_tasks_database_dbtaskresult SET worker_ids = '5'")
    API().post("password/reset", {"email": ada.email})
    for _ in range(2):
        run_jobs()
    states = superuser.execute("SELECT status FROM django_tasks_database_dbtaskresult ORDER BY 1").fetchall()
    assert states == [("FAILED",), ("SUCCESSFUL",)]
    assert len(mailoutbox) == 1
