"""Final refusals are recorded, reported and not retried; other failures are retried."""

import io
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.jobs import maintenance
from accounts.mail import messages, refusals
from accounts.mail.smtp import NotDeliveredError
from accounts.models import RefusedMail
from accounts.tests.support.flows import all_at_once, events, link_in, log_in, log_lines, sign_up
from accounts.tests.support.jobs import age_jobs, job_states
from accounts.tests.support.mail_server import Serve, certificate, deploy, serve, tls
from audit.requests.metrics import MAILS
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.operators import make_operator, sign_in_operator
from tenancy.context import OPERATOR, using_alias

__all__ = ["certificate", "deploy", "serve", "tls"]
UNKNOWN = "550 5.1.1 <{address}>: Recipient address rejected: User unknown"


def detail_of(superuser: psycopg.Connection, type_: str) -> dict[str, Any]:
    rows = superuser.execute("SELECT detail FROM audit_logs WHERE type = %s", [type_]).fetchall()
    ((detail,),) = rows
    parsed: dict[str, Any] = detail if isinstance(detail, dict) else json.loads(detail)
    return parsed


def refused_mails() -> list[RefusedMail]:
    with using_alias(OPERATOR):
        return list(RefusedMail.objects.order_by("at"))


def mails_metric(kind: str, outcome: str) -> float:
    return float(MAILS.labels(kind, outcome)._value.get())


def me(person: Person) -> dict[str, Any]:
    profile: dict[str, Any] = API().get("me", token=person.access).json()
    return profile


def mark(address: str, **options: str) -> str:
    output = io.StringIO()
    call_command("mark_undeliverable", address, stdout=output, **options)
    return output.getvalue().strip()


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("RCPT TO", UNKNOWN),
        ("RCPT TO", "550 {address} is not known here"),
        ("RCPT TO", "551 not local"),
        ("RCPT TO", "552 5.2.2 full"),
        ("RCPT TO", "553 5.1.3 bad syntax"),
        ("RCPT TO", "550 5.4.1 Recipient address rejected: Access denied"),
        ("RCPT TO", "554 5.1.1 no such mailbox"),
        ("RCPT TO", "556 5.1.10 this domain takes no mail"),
        ("DATA", "550 5.7.1 <{address}>: policy"),
        ("DATA", "552 5.3.4 too big"),
        ("DATA", "554 5.6.0 looks like spam"),
    ],
)
def test_final_refusal_is_recorded_and_not_retried(  # noqa: PLR0917
    api: API, run_jobs: Any, serve: Serve, deploy: Any, superuser: psycopg.Connection, stage: str, reply: str
) -> None:
    server = serve(refuses={stage: reply})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    sign_up(api, "zoe@example.com")
    before = mails_metric("verify_email", "refused")
    with log_lines() as lines:
        assert run_jobs() == 1
    assert job_states(superuser) == [("SUCCESSFUL", 1)]
    age_jobs(superuser, days=1)
    assert run_jobs() == 0
    assert server.recipients == ["zoe@example.com"]
    assert mails_metric("verify_email", "refused") == before + 1
    (row,) = refused_mails()
    assert (row.email, row.kind, row.stage, row.code) == (
        "zoe@example.com",
        "verify_email",
        stage,
        int(reply[:3]),
    )
    detail = detail_of(superuser, "mail.refused")
    assert detail == {"kind": "verify_email", "stage": stage, "code": row.code, "reply": row.reply}
    assert "zoe" not in row.reply + lines.getvalue()
    owner = superuser.execute("SELECT creator_id FROM audit_logs WHERE type = 'mail.refused'").fetchone()
    assert owner == superuser.execute("SELECT id FROM creators").fetchone()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"password": "wrong"}, {}),
        ({"refuses": {"MAIL FROM": "550 5.7.1 sender not allowed"}}, {"EMAIL_FROM": "a@acme.example"}),
        ({"refuses": {"RCPT TO": "554 5.7.1 <{address}>: Relay access denied"}}, {}),
    ],
    ids=["AUTH", "MAIL FROM", "relay"],
)
def test_corrected_setting_delivers_queued_mail(  # noqa: PLR0917
    api: API, run_jobs: Any, serve: Serve, deploy: Any, superuser: psycopg.Connection,
    wrong: dict[str, Any], right: dict[str, str],
) -> None:  # fmt: skip
    server = serve(passwords={"acme": "secret"}, refuses=wrong.get("refuses", {}))
    deploy(EMAIL_URL=f"smtp://acme:{wrong.get('password', 'secret')}@127.0.0.1:{server.port}")
    sign_up(api, "zoe@example.com")
    run_jobs()
    assert job_states(superuser) == [("READY", 1)]
    assert refused_mails() == []
    assert "mail.refused" not in events(superuser)
    server.refuses.clear()
    deploy(EMAIL_URL=f"smtp://acme:secret@127.0.0.1:{server.port}", **right)
    age_jobs(superuser, seconds=6)
    run_jobs()
    assert job_states(superuser) == [("SUCCESSFUL", 2)]
    assert [received.recipient for received in server.mails] == ["zoe@example.com"]


def test_each_resent_link_has_its_own_job(
    api: API, run_jobs: Any, serve: Serve, deploy: Any, superuser: psycopg.Connection
) -> None:
    server = serve()
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    for _ in range(2):
        sign_up(api, "zoe@example.com")
    run_jobs()
    server.mails.clear()
    api.post("email/verify/resend", {"email": "zoe@example.com"})
    handle_data = server.handle_DATA
    failed: list[int] = []

    async def fails_once(*args: Any) -> str:
        if not failed:
            failed.append(1)
            return "451 4.3.0 later"
        return await handle_data(*args)

    server.handle_DATA = fails_once  # type: ignore[assignment, method-assign]
    run_jobs()
    assert len(server.mails) == 1
    age_jobs(superuser, seconds=6)
    run_jobs()
    assert len(server.mails) == 2  # the first email is not repeated
    assert len({received.text for received in server.mails}) == 2


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "552 5.2.2 full", "451 4.3.0 later"])
@pytest.mark.parametrize("unreachable", ["ada@example.com", "countess@example.com"])
def test_both_mails_of_an_address_change_are_sent_once(  # noqa: PLR0917
    api: API, ada: Person, run_jobs: Any, serve: Serve, deploy: Any, superuser: psycopg.Connection,
    unreachable: str, reply: str,
) -> None:  # fmt: skip
    server = serve(refused_recipients={unreachable: reply})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    body = {"new_email": "countess@example.com", "password": ada.password}
    assert api.post("email/change", body, token=ada.access).status_code == 202
    for _ in range(3):
        run_jobs()
        age_jobs(superuser, minutes=1)
    (received,) = server.mails
    assert {received.recipient, unreachable} == {"ada@example.com", "countess@example.com"}
    # the notice has the only undo link, so only a nonexistent mailbox ends its retries
    is_final = reply.startswith("550") or (reply.startswith("552") and unreachable != ada.email)
    assert server.recipients.count(unreachable) == (1 if is_final else 3)


def test_refused_notice_is_an_event_and_counts_as_sent(
    ada: Person, run_jobs: Any, serve: Serve, deploy: Any, superuser: psycopg.Connection
) -> None:
    server = serve(refuses={"RCPT TO": UNKNOWN})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    body = {"current_password": ada.password, "new_password": "another lovely sentence"}
    assert API().post("password/change", body, token=ada.access).status_code == 204
    run_jobs()
    assert superuser.execute("SELECT count(*) FROM security_notices WHERE sent_at IS NULL").fetchone() == (0,)
    assert {"mail.refused", "email.undeliverable"} <= set(events(superuser, of=ada.id))
    results = API().get("/api/v1/audit/events?type=mail.refused", token=ada.access).json()["results"]
    assert results[0]["summary"] == "A mail to you was refused by the mail server."


def test_refusal_for_an_unknown_address_has_no_account(
    serve: Serve, deploy: Any, superuser: psycopg.Connection
) -> None:
    server = serve(refuses={"RCPT TO": UNKNOWN})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with using_alias(OPERATOR):
        messages.send(
            "email_change", to="new@example.com", language="en", link="https://x/", expires_minutes=9
        )
    (row,) = refused_mails()
    assert row.account_id is None
    assert superuser.execute("SELECT count(*) FROM audit_personal_data WHERE email <> ''").fetchone() == (0,)
    assert "mail.refused" in events(superuser)


@pytest.mark.parametrize(
    ("reply", "is_marked"),
    [
        (UNKNOWN, True),
        ("550 no such user", True),
        ("553 5.1.3 no", True),
        ("552 5.2.2 full", False),
        ("550 5.2.2 full", False),
        ("450 4.1.1 later", False),
        ("550 5.7.1 relaying denied", False),
    ],
)
def test_unknown_recipient_marks_the_address_undeliverable(
    ada: Person, serve: Serve, deploy: Any, reply: str, is_marked: bool
) -> None:
    server = serve(refuses={"RCPT TO": reply})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with using_alias(OPERATOR), suppress(NotDeliveredError):
        messages.send("test", to=ada.email, language="en")
    assert me(ada).get("email_undeliverable", False) is is_marked


def test_owner_sees_that_the_address_is_undeliverable(
    ada: Person, bob: Person, api: API, superuser: psycopg.Connection
) -> None:
    assert "email_undeliverable" not in me(ada)
    assert mark(" ADA@example.com", reason="5.1.1 <ada@example.com> unknown, said ada's server") == "Marked."
    pair = log_in(api, ada.email).json()
    profile = api.get("me", token=pair["access"]).json()
    assert profile["email_undeliverable"] is True
    assert api.patch("me", {"display_name": "A."}, token=pair["access"]).json()["email_undeliverable"] is True
    exported = api.get("me/export", token=pair["access"]).json()
    assert exported["profile"]["email_undeliverable_at"]
    assert "email_undeliverable" not in me(bob)
    results = api.get("/api/v1/audit/events?type=email.undeliverable", token=pair["access"]).json()["results"]
    (event,) = results
    assert (
        event["summary"] == "Mail to your email address can't be delivered: 5.1.1 … unknown, said …'s server"
    )
    assert "ada" not in json.dumps(event["detail"])


def test_second_mark_changes_nothing(ada: Person, superuser: psycopg.Connection) -> None:
    assert [mark(ada.email), mark(ada.email, reason="again")] == ["Marked.", "Already marked."]
    assert events(superuser).count("email.undeliverable") == 1
    assert mark("stranger@example.com") == "No account has this address."
    with pytest.raises(CommandError):
        mark("rubbish")


def test_parallel_reports_mark_once(ada: Person, superuser: psycopg.Connection) -> None:
    def report(_: int) -> int:
        with using_alias(OPERATOR):
            return refusals.mark_undeliverable(ada.email)

    assert sum(all_at_once(5, report)) == 1
    assert events(superuser).count("email.undeliverable") == 1


def test_address_named_sender_is_not_mistaken_for_the_sender(serve: Serve, deploy: Any) -> None:
    server = serve(refuses={"RCPT TO": "550 <{address}> is not known here"})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with using_alias(OPERATOR):
        messages.send("test", to="sender@relay.example", language="en")
    assert [row.code for row in refused_mails()] == [550]


def test_pending_sign_up_is_not_marked(ada: Person) -> None:
    waiting = make_creator("zoe@example.com", holds_email=False, email_verified_at=None)
    assert mark(waiting.email) == "No account has this address."


def test_change_of_address_ends_the_mark(
    ada: Person, run_jobs: Any, mailoutbox: list[Any], superuser: psycopg.Connection
) -> None:
    mark(ada.email)
    body = {"new_email": "ada@example.org", "password": ada.password}
    assert API().post("email/change", body, token=ada.access).status_code == 202
    run_jobs()
    (to_new,) = (message for message in mailoutbox if message.to == ["ada@example.org"])
    uid, token = link_in(to_new)
    assert API().post("email/change/confirm", {"uid": uid, "token": token}).status_code == 204
    assert "email_undeliverable" not in me(sign_in(ada))
    assert mark("ada@example.org") == "Marked."


def test_used_link_ends_the_mark(ada: Person, run_jobs: Any, mailoutbox: list[Any]) -> None:
    mark(ada.email)
    API().post("password/reset", {"email": ada.email})
    run_jobs()
    uid, token = link_in(mailoutbox[0])
    body = {"uid": uid, "token": token, "new_password": "another lovely sentence"}
    assert API().post("password/reset/confirm", body).status_code == 204
    assert "email_undeliverable" not in me(sign_in(ada))


def test_refusals_are_deleted_with_the_account_or_by_age(
    ada: Person, bob: Person, serve: Serve, deploy: Any, superuser: psycopg.Connection
) -> None:
    server = serve(refuses={"RCPT TO": UNKNOWN})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with using_alias(OPERATOR):
        for person in (ada, bob):
            messages.send("test", to=person.email, language="en")
    assert API().post("me/delete", {"password": ada.password}, token=ada.access).status_code == 204
    assert [row.email for row in refused_mails()] == [bob.email]
    with using_alias(OPERATOR):
        assert maintenance.prune_expired()["refused_mails"] == 0
        RefusedMail.objects.update(at=timezone.now() - maintenance.KEEP_REFUSALS - timedelta(seconds=1))
        assert maintenance.prune_expired()["refused_mails"] == 1


def test_operators_see_address_and_reply_of_a_refusal(
    ada: Person, serve: Serve, deploy: Any, superuser: psycopg.Connection
) -> None:
    server = serve(refuses={"RCPT TO": UNKNOWN})
    deploy(EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
    with using_alias(OPERATOR):
        messages.send("test", to=ada.email, language="en")
    browser = sign_in_operator(make_operator("olga@example.com", "support"))
    page = browser.get("/admin/accounts/refusedmail/").content.decode()
    for word in (ada.email, "RCPT TO", "550", "User unknown"):
        assert word in page
    assert ada.email in browser.get("/admin/accounts/refusedmail/?q=ada@").content.decode()
    assert ada.email not in browser.get("/admin/accounts/refusedmail/?q=bob@").content.decode()


def test_reply_is_redacted_and_shortened() -> None:
    reply = "5.1.1 <Ada.L@example.com>\r\nada.l\x00 unknown; ada.lovelace is not\u202e " + "x" * 500
    redacted = refusals.redact(reply, "ada.l@example.com")
    assert redacted.startswith("5.1.1 …  …  unknown; ada.lovelace is not  xxx")
    assert len(redacted) == 200
    assert redacted.isprintable()
