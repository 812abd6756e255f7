"""Where personal data is stored and when it is deleted, as in docs/personal-data.md."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.core.management import call_command
from django.utils import timezone

from accounts.jobs import maintenance
from accounts.tests.support.flows import LINK, confirm, log_in, log_lines, sign_up
from audit.partitions import lowest_id
from audit.tests.support.tampering import verify
from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.client import API

OLD, NEW, NAME = "plantedoldaddress@example.com", "plantednewaddress@example.com", "Planted Name"
AGENT = {"User-Agent": "PlantedAgent/1.0 (plantedmachine)", "X-Request-ID": "planted-request-id"}
OTHER_PASSWORD = "another planted sentence of Zoe's"
END_USER_SESSIONS = "/api/v1/end-users/sessions"
TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition
"""


class MarkerAPI(API):
    """Sends the planted user agent and request id, from the address 203.0.113.77."""

    def generic(self, *args: Any, **more: Any) -> Any:
        more["headers"] = AGENT | (more.get("headers") or {})
        return super().generic(*args, **more, REMOTE_ADDR="203.0.113.77")


@pytest.fixture
def zoe(transactional_db: None) -> MarkerAPI:
    return MarkerAPI(raise_request_exception=False)


def tables_with_planted_data(superuser: psycopg.Connection) -> set[str]:
    """Tables with a planted word or the client's address in any column, also as bytes."""
    words = ["planted", "203.0.113.77"]
    words += [word.encode().hex() for word in (*words, "Planted")]
    tables = [table for (table,) in superuser.execute(TABLES.encode())]
    text = {
        table: " ".join(
            row for (row,) in superuser.execute(f"SELECT t::text FROM {table} t".encode())
        ).lower()
        for table in tables
    }
    return {table for table in tables for word in words if word in text[table]}


def newest_link(address: str, page: str) -> tuple[str, str]:
    """uid and token of the newest link to the page in an email to the address."""
    for message in reversed(mail.outbox):
        link = LINK.search(str(message.body))
        if message.to == [address] and link and f"/{page}/" in link[1]:
            return link[2], link[3]
    raise AssertionError((address, page))


def use_every_endpoint(api: MarkerAPI, run_jobs: Any) -> str:
    """Send every request of a creator with planted data in every field; returns an access token."""
    log_in(api, OLD, "planted wrong")  # there is no account yet
    api.post("password/reset", {"email": OLD})
    for _ in range(2):
        sign_up(api, OLD, display_name=NAME)
    api.post("email/verify/resend", {"email": OLD})
    run_jobs()
    confirm(api, newest_link(OLD, "verify-email"), "planted wrong")
    pair = confirm(api, newest_link(OLD, "verify-email")).json()
    sign_up(api, OLD, display_name=NAME)  # the address has an account
    api.post("password/validate", {"password": "planted weak", "email": OLD})
    log_in(api, OLD, "planted wrong")
    pair = api.post("refresh", {"refresh": pair["refresh"]}).json()
    token = pair["access"]
    api.patch("me", {"display_name": NAME + "!"}, token=token)
    me = api.get("me", token=token).json()
    for kind in ("me", "sessions", "me/export", "/api/v1/audit/events", END_USER_SESSIONS):
        assert api.get(kind, token=token).status_code == 200
    end_user = api.post(
        END_USER_SESSIONS, {"creator": me["id"], "metadata": {"planted": ["Planted end user"]}}
    )
    api.get(f"{END_USER_SESSIONS}/current", token=end_user.json()["session"])
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    assert api.post("password/change", body, token=token).status_code == 204
    for password in ("planted wrong", OTHER_PASSWORD):
        api.post("email/change", {"new_email": NEW, "password": password}, token=token)
    run_jobs()
    uid, secret = newest_link(NEW, "email-change")
    assert api.post("email/change/confirm", {"uid": uid, "token": secret}).status_code == 204
    log_in(api, OLD, "planted wrong")  # no account has this address now
    api.post("password/reset", {"email": NEW})
    api.post(
        "email/change", {"new_email": "planted-third@example.com", "password": OTHER_PASSWORD}, token=token
    )
    run_jobs()
    uid, secret = newest_link(NEW, "reset")
    body = {"uid": uid, "token": secret, "new_password": PASSWORD}
    assert api.post("password/reset/confirm", body).status_code == 204
    token = str(log_in(api, NEW).json()["access"])
    api.post("logout", {"refresh": log_in(api, NEW).json()["refresh"]}, token=token)
    return str(log_in(api, NEW).json()["access"])


def test_deletion_removes_all_personal_data(
    zoe: MarkerAPI, ada: Person, superuser: psycopg.Connection, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    with log_lines() as lines:
        token = use_every_endpoint(zoe, run_jobs)
        assert {
            "creators",
            "audit_personal_data",
            "sessions",
            "user_sessions",
            "email_changes",
        } <= tables_with_planted_data(superuser)
        assert zoe.post("me/delete", {"password": PASSWORD}, token=token).status_code == 204
        at_once = tables_with_planted_data(superuser)
        run_jobs()
    # unfinished jobs, and the other sign-up with its links, which is pruned later
    assert at_once <= {
        "django_tasks_database_dbtaskresult", "creators", "audit_personal_data", "email_verification_tokens",
    }  # fmt: skip
    superuser.execute(
        "UPDATE creators SET created_at = created_at - interval '30 days' WHERE NOT holds_email"
    )
    superuser.execute("UPDATE email_verification_tokens SET expires_at = now()")
    call_command("prune_expired")
    assert tables_with_planted_data(superuser) == set()
    logged = lines.getvalue().lower().replace('"client_request_id": "planted-request-id"', "")
    assert "planted" not in logged
    assert "203.0.113.77" not in lines.getvalue()
    assert verify() == []


def test_deletion_keeps_the_data_of_others(
    zoe: MarkerAPI, api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    log_in(api, "nobody@example.com", "wrong")
    log_in(api, ada.email, "wrong")
    bob = make_creator(OLD)
    log_in(zoe, OLD, "wrong")
    token = log_in(zoe, OLD).json()["access"]
    assert zoe.post("me/delete", {"password": bob.password}, token=token).status_code == 204
    left = superuser.execute("SELECT email FROM audit_personal_data WHERE email <> '' ORDER BY 1").fetchall()
    assert left == [(ada.email,), ("nobody@example.com",)]


def test_deletion_keeps_data_at_an_address_of_another_account(
    ada: Person, api: API, superuser: psycopg.Connection
) -> None:
    log_in(api, "shared@example.com", "wrong")
    superuser.execute(
        "INSERT INTO email_changes (id, creator_id, number, old_email, new_email, recovery_generation, created_at, "
        "expires_at, undo_expires_at, confirmed_at) "
        "VALUES (gen_random_uuid(), %s, 1, 'shared@example.com', %s, 0, now(), now(), now(), now())",
        [ada.id, ada.email],
    )
    make_creator("shared@example.com")
    assert api.post("me/delete", {"password": ada.password}, token=ada.access).status_code == 204
    left = superuser.execute("SELECT count(*) FROM audit_personal_data WHERE email = 'shared@example.com'")
    assert left.fetchone() == (1,)


def test_unverified_account_can_not_read_or_erase_data_at_its_address(
    api: API, zoe: MarkerAPI, settings: Any, superuser: psycopg.Connection
) -> None:
    log_in(zoe, "victim@example.com", "wrong")
    settings.REQUIRE_EMAIL_VERIFICATION = False
    sign_up(api, "victim@example.com")
    token = log_in(api, "victim@example.com").json()["access"]
    assert api.get("me/export", token=token).json()["address_events"] == []
    assert api.post("me/delete", {"password": PASSWORD}, token=token).status_code == 204
    left = superuser.execute("SELECT count(*) FROM audit_personal_data WHERE email = 'victim@example.com'")
    assert left.fetchone() == (1,)


def test_data_without_an_account_is_deleted_after_30_days(
    api: API, ada: Person, superuser: psycopg.Connection
) -> None:
    log_in(api, "nobody@example.com", "wrong")
    log_in(api, ada.email, "wrong")
    counts = "SELECT count(*) FROM audit_personal_data WHERE email <> ''"
    for age, left in (
        (maintenance.KEEP_PERSONAL_DATA_WITHOUT_ACCOUNT - timedelta(hours=1), 2),
        (maintenance.KEEP_PERSONAL_DATA_WITHOUT_ACCOUNT, 1),
    ):
        moved = lowest_id(timezone.now() - age - timedelta(seconds=1))
        superuser.execute(
            "UPDATE audit_personal_data SET id = %s WHERE email = 'nobody@example.com'", [moved]
        )
        call_command("prune_expired")
        assert superuser.execute(counts).fetchone() == (left,)


@pytest.mark.parametrize("verification", [True, False])
def test_sign_up_for_a_taken_address_leaves_no_personal_data(
    zoe: MarkerAPI,
    ada: Person,
    settings: Any,
    run_jobs: Any,
    superuser: psycopg.Connection,
    verification: bool,
) -> None:
    settings.REQUIRE_EMAIL_VERIFICATION = verification
    sign_up(zoe, ada.email)
    assert "audit_personal_data" in tables_with_planted_data(superuser)
    run_jobs()
    assert tables_with_planted_data(superuser) == set()


def test_erasing_job_skips_existing_accounts(
    api: API, ada: Person, superuser: psycopg.Connection, run_jobs: Any
) -> None:
    """The app role can queue jobs with any argument."""
    from accounts import tasks

    log_in(api, ada.email, "wrong")
    tasks.erase_personal_data.enqueue(str(ada.id))
    run_jobs()
    query = "SELECT count(*) FROM audit_personal_data WHERE creator_id = %s AND email <> ''"
    assert superuser.execute(query, [ada.id]).fetchone() == (1,)
