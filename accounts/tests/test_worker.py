"""The job queue: no job is lost, finished jobs keep no data, a bad job does not block others."""

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
from accounts.tests.support.flows import all_at_once, confirm, events, link_in, log_lines, sign_up
from accounts.tests.support.jobs import age_jobs, job_states
from config.tests.support.accounts import Person
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

GERMAN = {"Accept-Language": "de"}


@pytest.fixture(autouse=True)
def unlimited_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAILS_FROM_ONE_NETWORK", 1000)


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Set `["down"]` to an error for all emails, `["refuses"]` to an address that is refused."""
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


def test_mails_are_retried_until_the_server_is_back(
    api: API, run_jobs: Any, mailoutbox: list[Any], mail_server: Any, superuser: psycopg.Connection
) -> None:
    addresses = [f"creator{number}@example.com" for number in range(5)]
    for address in addresses:
        sign_up(api, address)
    mail_server["down"] = ConnectionRefusedError("no mail server")
    assert run_jobs() == 5
    assert run_jobs() == 0  # none is due yet
    assert job_states(superuser) == [("READY", 1)] * 5
    age_jobs(superuser, seconds=6)
    assert run_jobs() == 5
    age_jobs(superuser, seconds=6)
    assert run_jobs() == 0  # the delay has doubled
    age_jobs(superuser, seconds=6)
    mail_server["down"] = None
    assert run_jobs() == 5
    assert [message.to for message in mailoutbox] == [[address] for address in addresses]
    assert job_states(superuser) == [("SUCCESSFUL", 3)] * 5
    assert confirm(api, link_in(mailoutbox[4])).status_code == 200


def test_retry_delay_grows_to_15_minutes(
    api: API, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["down"] = smtplib.SMTPServerDisconnected()
    sign_up(api, "zoe@example.com")
    delays = []
    for _ in range(12):
        run_jobs()
        with using_alias(OPERATOR):
            delays.append(round((DBTaskResult.objects.get().run_after - timezone.now()).total_seconds()))
        age_jobs(superuser, minutes=15)
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-1] == 900
    assert delays == sorted(delays)


def test_bad_job_does_not_block_others(
    api: API, run_jobs: Any, mailoutbox: list[Any], mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["refuses"] = "refused@example.com"
    for address in ("refused@example.com", "zoe@example.com", "yan@example.com"):
        sign_up(api, address)
    with using_alias(OPERATOR):  # and a job whose function does not exist
        DBTaskResult.objects.filter(args_kwargs__args__contains=["yan@example.com"]).update(
            task_path="accounts.tasks.no_such_task"
        )
    assert run_jobs() == 3
    assert [message.to for message in mailoutbox] == [["zoe@example.com"]]
    assert job_states(superuser) == [("READY", 1), ("SUCCESSFUL", 1), ("READY", 1)]


def test_job_of_a_killed_worker_is_requeued_after_its_lease(
    api: API, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")
    with using_alias(OPERATOR):
        assert Worker("killed in the middle").claim() is not None
        assert requeue_stale_jobs() == 0
    assert run_jobs() == 0
    age_jobs(superuser, minutes=2)
    with using_alias(OPERATOR):
        assert requeue_stale_jobs() == 1
    assert run_jobs() == 1
    assert len(mailoutbox) == 1
    assert job_states(superuser) == [("SUCCESSFUL", 2)]


def test_parallel_workers_claim_different_jobs(api: API, superuser: psycopg.Connection) -> None:
    for number in range(6):
        sign_up(api, f"creator{number}@example.com")

    def claim(number: int) -> Any:
        with using_alias(OPERATOR):
            return Worker(f"worker {number}").claim()

    claimed = [job.pk for job in all_at_once(6, claim) if job is not None]
    assert len(claimed) == len(set(claimed)) == 6


def test_finished_job_keeps_no_address(api: API, run_jobs: Any, superuser: psycopg.Connection) -> None:
    sign_up(api, "zoe@example.com")
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    rows = "SELECT t::text FROM django_tasks_database_dbtaskresult t"
    assert all("zoe@example.com" in row for (row,) in superuser.execute(rows))
    run_jobs()
    assert not any("zoe@" in row for (row,) in superuser.execute(rows))


def test_job_fails_after_three_days_and_keeps_no_address(
    api: API, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    mail_server["down"] = smtplib.SMTPAuthenticationError(535, b"no entry for zoe@example.com")
    sign_up(api, "zoe@example.com")
    run_jobs()
    age_jobs(superuser, days=2, hours=23)
    run_jobs()
    assert job_states(superuser) == [("READY", 2)]
    age_jobs(superuser, hours=2)
    with log_lines() as lines:
        run_jobs()
    assert job_states(superuser) == [("FAILED", 3)]
    (row,) = superuser.execute("SELECT t::text FROM django_tasks_database_dbtaskresult t").fetchone()  # type: ignore[misc]
    assert "zoe@" not in row
    assert "SMTPAuthenticationError" in row + lines.getvalue()
    assert "zoe@" not in lines.getvalue()


def test_taken_address_is_recorded_once_despite_retries(
    api: API, ada: Person, run_jobs: Any, mail_server: Any, superuser: psycopg.Connection
) -> None:
    sign_up(api, ada.email)
    mail_server["down"] = TimeoutError()
    for _ in range(3):
        run_jobs()
        age_jobs(superuser, minutes=15)
    assert "registration.repeated" not in events(superuser)
    mail_server["down"] = None
    run_jobs()
    assert events(superuser).count("registration.repeated") == 1


def test_job_interrupted_by_the_database_stays_running(
    api: API, monkeypatch: pytest.MonkeyPatch, superuser: psycopg.Connection
) -> None:
    sign_up(api, "zoe@example.com")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(messages, "send", fail)
    with using_alias(OPERATOR), pytest.raises(OperationalError):
        Worker("test").run_one()
    assert job_states(superuser) == [("RUNNING", 1)]


def test_worker_survives_database_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Worker("test")
    attempts = []

    def fail(self: Worker) -> bool:
        attempts.append(1)
        if len(attempts) == 3:
            self.stop()
        raise OperationalError

    monkeypatch.setattr(Worker, "run_one", fail)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    with using_alias(OPERATOR):
        runner.run()
    assert len(attempts) == 3


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


def test_mails_are_in_the_language_of_the_request(
    api: API, ada: Person, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    for address in ("zoe@example.com", ada.email):
        sign_up(api, address, **GERMAN)
        sign_up(api, address, **{"Accept-Language": "xx"})
    run_jobs()
    german, english, german_taken, english_taken = mailoutbox
    for in_german, in_english in ((german, english), (german_taken, english_taken)):
        assert in_german.subject != in_english.subject
        assert "E-Mail" in in_german.body
        assert "Guten Tag" in in_german.body
        assert "Hello" in in_english.body
        assert 'lang="de"' in in_german.alternatives[0][0]


def test_name_of_an_unverified_sign_up_is_in_no_mail(api: API, run_jobs: Any, mailoutbox: list[Any]) -> None:
    """Otherwise Mallory could send text to strangers."""
    body = {
        "email": "victim@example.com",
        "password": "a lovely sentence",
        "display_name": "Visit evil.example",
    }
    api.post("register", body)
    run_jobs()
    (message,) = mailoutbox
    assert "evil" not in message.subject + message.body + message.alternatives[0][0]


def all_rows(superuser: psycopg.Connection) -> str:
    """All rows of all tables as text; byte columns both as hex and decoded."""
    tables = superuser.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    text = []
    for (table,) in tables:
        for (row,) in superuser.execute(f"SELECT row_to_json(t)::text FROM {table} t".encode()):
            byte_columns = (part.partition('"')[0] for part in row.split('"\\\\x')[1:])
            text += [row, *(bytes.fromhex(column).decode("latin-1") for column in byte_columns)]
    return "\n".join(text)


def test_no_secret_is_stored_in_clear(
    api: API, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    password = "a sentence that must not be kept"
    sign_up(api, "zoe@example.com", password)
    before = all_rows(superuser)
    run_jobs()
    link = link_in(mailoutbox[0])
    api.post("email/verify", {"uid": link[0], "token": link[1], "password": "a wrong one, also secret"})
    pair = confirm(api, link, password).json()
    newer = api.post("refresh", {"refresh": pair["refresh"]}).json()
    api.post("logout", {"refresh": newer["refresh"]}, token=newer["access"])
    stored = before + all_rows(superuser)
    assert "zoe@example.com" in stored  # the search works
    assert "argon2id" in stored
    secrets = [link[1], password, "a wrong one, also secret"]
    for token in (*pair.values(), *newer.values()):
        if isinstance(token, str) and token.count(".") == 2:
            secrets += [token, *token.split(".")[1:]]
    for secret in secrets:
        assert secret not in stored
        assert secret.encode().hex() not in stored


def test_sign_up_is_kept_while_its_mail_is_retried(
    api: API, run_jobs: Any, superuser: psycopg.Connection, mailoutbox: list[Any]
) -> None:
    sign_up(api, "zoe@example.com")
    superuser.execute("UPDATE creators SET created_at = now() - interval '3 days 23 hours'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 0
    run_jobs()  # the mail server is back
    superuser.execute("UPDATE creators SET created_at = now() - interval '30 days'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 0  # its link is still valid
    superuser.execute("UPDATE email_verification_tokens SET expires_at = now() - interval '1 second'")
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["creators"] == 1


def test_pruning_deletes_only_expired_rows(ada: Person, bob: Person, superuser: psycopg.Connection) -> None:
    superuser.execute(
        "UPDATE sessions SET expires_at = now() - interval '1 s' WHERE creator_id = %s", [ada.id]
    )
    with using_alias(OPERATOR):
        pruned = maintenance.prune_expired()
    assert (pruned["sessions"], pruned["creators"]) == (1, 0)
    left = superuser.execute("SELECT creator_id FROM refresh_tokens").fetchall()
    assert left == [(bob.id,)]


MALFORMED_JOBS = [
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


@pytest.mark.parametrize("malformed", MALFORMED_JOBS)
def test_app_role_can_not_queue_malformed_jobs(
    ada: Person, superuser: psycopg.Connection, malformed: str
) -> None:
    column, _, value = malformed.partition(" = ")
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


def test_job_that_can_not_be_claimed_fails(
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
