"""All spellings of an address are one account; text that is not an address is refused everywhere."""

import html
import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import Creator, Operator
from accounts.tests.support.creator_pages import LIST, page_of, record_justification, text_of
from accounts.tests.support.flows import LINK, confirm, link_in, log_in, sign_up
from config.tests.support.accounts import PASSWORD, Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.operators import make_operator, reauthenticate, sign_in_operator
from tenancy.context import OPERATOR, using_alias

STORED, DISPLAYED = "zoe@xn--bcher-kva.example", "zoe@bücher.example"
SPELLINGS = (
    DISPLAYED,
    STORED,
    "ZOE@Bücher.Example",
    "zoe@BU\u0308CHER.example",
    " zoe@XN--BCHER-KVA.example ",
)
MALFORMED = (
    "zoe",
    "=?utf-8?q?zoe?=@example.com",
    "=?utf-8?q?=0d=0a?=@example.com",
    "zoë@example.com",
    '"zoe"@example.com',
    "zoe@exam\u200bple.com",
    "zoe@exam\u00adple.com",
    "zoe@exam\u202eple.com",
    f"{'z' * 65}@example.com",
    f"zoe@{'ü' * 60}.example",
)


@pytest.fixture
def zoe(transactional_db: None) -> Person:
    return sign_in(make_creator(STORED))


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@xn--bcher-kva.example")


# --- creators -----------------------------------------------------------------------------------
def test_all_spellings_sign_in_to_one_account(
    api: API, run_jobs: Callable[[], int], superuser: psycopg.Connection
) -> None:
    sign_up(api, SPELLINGS[0])
    run_jobs()
    (message,) = mail.outbox
    assert message.to == [STORED]
    assert confirm(api, link_in(message)).status_code == 200
    for spelling in SPELLINGS:
        sign_up(api, spelling, "another lovely sentence")
        assert log_in(api, spelling).status_code == 200, spelling
    run_jobs()
    assert {tuple(message.to) for message in mail.outbox} == {(STORED,)}
    assert {message.subject for message in mail.outbox[1:]} == {
        "Creator accounts: Your email address was used to sign up again"
    }
    assert superuser.execute("SELECT DISTINCT email FROM creators").fetchall() == [(STORED,)]
    assert superuser.execute("SELECT count(*) FROM creators WHERE holds_email").fetchone() == (1,)


def test_all_spellings_count_towards_one_lockout(api: API, zoe: Person) -> None:
    statuses = [log_in(api, spelling, "wrong").status_code for spelling in (*SPELLINGS, DISPLAYED)]
    assert statuses == [401] * 5 + [429]


def test_all_spellings_count_towards_one_mail_limit(
    api: API, zoe: Person, run_jobs: Callable[[], int]
) -> None:
    for spelling in SPELLINGS * 2:
        assert api.post("password/reset", {"email": spelling}).status_code == 202
    run_jobs()
    assert [message.to for message in mail.outbox] == [[STORED]] * 5


def test_domains_that_idna_2003_merged_are_different(api: API, run_jobs: Callable[[], int]) -> None:
    sign_up(api, "ada@straße.example")
    sign_up(api, "ada@strasse.example")
    run_jobs()
    assert [message.to for message in mail.outbox] == [
        ["ada@xn--strae-oqa.example"],
        ["ada@strasse.example"],
    ]


def test_profile_and_export_show_u_labels(api: API, zoe: Person) -> None:
    assert api.get("me", token=zoe.access).json()["email"] == DISPLAYED
    assert api.patch("me", {}, token=zoe.access).json()["email"] == DISPLAYED
    assert api.get("me/export", token=zoe.access).json()["profile"]["email"] == DISPLAYED


def test_malformed_address_is_refused_by_every_endpoint(api: API, ada: Person) -> None:
    endpoints: dict[str, dict[str, Any]] = {
        "register": {"password": PASSWORD},
        "login": {"password": PASSWORD},
        "email/verify/resend": {},
        "password/reset": {},
        "password/validate": {"password": PASSWORD},
        "email/change": {"password": PASSWORD},
    }
    for path, body in endpoints.items():
        field = "new_email" if path == "email/change" else "email"
        for address in MALFORMED:
            response = api.post(path, {**body, field: address}, token=ada.access)
            assert response.status_code == 400, (path, address)
            (error,) = response.json()["errors"]
            assert (error["field"], error["code"]) == (field, "invalid"), (path, address)


def test_error_gives_the_reason_in_the_clients_language(api: API) -> None:
    body = {"email": "zoë@example.com"}
    (error,) = api.post("password/reset", body).json()["errors"]
    assert "SMTPUTF8" in error["detail"]
    (error,) = api.post("password/reset", body, **{"Accept-Language": "de"}).json()["errors"]
    assert error["detail"].startswith("Vor dem @ sind nur ASCII-Zeichen möglich")


def test_page_accepts_both_forms_and_refuses_malformed(zoe: Person, run_jobs: Callable[[], int]) -> None:
    browser = Client()
    for spelling in (STORED, DISPLAYED):
        assert browser.post("/account/password-reset/", {"email": spelling}).status_code == 302
    run_jobs()
    assert [message.to for message in mail.outbox] == [[STORED]] * 2
    for address in MALFORMED:
        response = browser.post("/account/password-reset/", {"email": address})
        assert response.status_code == 400, address
        assert 'aria-invalid="true"' in response.content.decode()
    assert run_jobs() == 0


def test_address_change_displays_u_labels_and_mails_a_labels(
    api: API, ada: Person, run_jobs: Callable[[], int]
) -> None:
    body = {"new_email": DISPLAYED, "password": ada.password}
    assert api.post("email/change", body, token=ada.access).status_code == 202
    run_jobs()
    link, notice = mail.outbox
    assert (link.to, notice.to) == ([STORED], [ada.email])
    assert isinstance(notice, mail.EmailMultiAlternatives)
    for text in (str(notice.body), html.unescape(str(notice.alternatives[0][0]))):
        assert f"to {DISPLAYED}." in " ".join(html.unescape(text).split())
    page = LINK.search(str(link.body))
    assert page
    assert f"<strong>{DISPLAYED}</strong>" in Client().get(page[1]).content.decode()


# --- operators ----------------------------------------------------------------------------------
def sign_in_as(username: str, password: str = PASSWORD) -> Any:
    return Client().post("/admin/login/", {"username": username, "password": password})


def test_operator_signs_in_with_either_form(olga: Person) -> None:
    for username in ("olga@bücher.example", olga.email, "OLGA@Bücher.example"):
        assert sign_in_as(username).status_code == 302, username


@pytest.mark.parametrize("username", [*MALFORMED, "o\uff4cga@bücher.example"])
def test_malformed_username_is_a_wrong_credential(olga: Person, username: str) -> None:
    response, wrong = sign_in_as(username), sign_in_as("nobody@example.com")
    assert response.status_code == wrong.status_code == 200
    assert response.context["form"].errors == wrong.context["form"].errors


def test_admin_shows_u_labels(zoe: Person, olga: Person) -> None:
    browser = sign_in_operator(olga)
    reauthenticate(browser, olga)
    assert DISPLAYED in text_of(browser.get(LIST))
    assert "olga@bücher.example" in text_of(browser.get("/admin/accounts/operator/"))
    assert "olga@bücher.example" in text_of(browser.get(f"/admin/accounts/operator/{olga.id}/change/"))
    record_justification(browser, zoe)
    assert DISPLAYED in text_of(browser.get(page_of(zoe)))
    assert DISPLAYED in text_of(browser.get(f"{LIST}{zoe.id}/end_sessions/"))
    for path in (LIST, page_of(zoe)):
        assert STORED not in text_of(browser.get(path))


def test_audit_overview_shows_u_labels(api: API, zoe: Person, olga: Person) -> None:
    log_in(api, zoe.email, "wrong")
    browser = sign_in_operator(olga)
    overview = text_of(browser.get("/admin/audit/auditlog/overview/"))
    assert DISPLAYED in overview
    assert STORED not in overview


def test_operator_searches_in_either_form(api: API, zoe: Person, olga: Person) -> None:
    log_in(api, zoe.email, "wrong")
    browser = sign_in_operator(olga)
    lists = {
        LIST: DISPLAYED,
        "/admin/axes/accessattempt/": DISPLAYED,
        "/admin/accounts/operator/": "olga@bücher.example",
    }
    for path, displayed in lists.items():
        name = displayed.partition("@")[0]
        in_header = 1 if name == "olga" else 0
        for term in (displayed, displayed.upper(), f"{name}@xn--bcher-kva.example", f"{name}@"):
            assert text_of(browser.get(path, {"q": term})).count(displayed) > in_header, (path, term)
        for term in (f"{name}@other", f"{name}@strasse.example"):
            assert text_of(browser.get(path, {"q": term})).count(displayed) == in_header, (path, term)


@pytest.mark.parametrize("path", [LIST, "/admin/axes/accessattempt/", "/admin/accounts/operator/"])
def test_impossible_search_term_gives_the_reason(zoe: Person, olga: Person, path: str) -> None:
    browser = sign_in_operator(olga)
    for term, reason in (("zoë@example.com", "SMTPUTF8"), ("exam\u200bple", "invisible character")):
        response = text_of(browser.get(path, {"q": term}))
        assert reason in response
        assert f" {DISPLAYED} " not in response


def test_deletion_accepts_either_form_of_the_address(
    zoe: Person, olga: Person, superuser: psycopg.Connection
) -> None:
    browser = sign_in_operator(olga)
    reauthenticate(browser, olga)
    record_justification(browser, zoe)
    delete = f"{LIST}{zoe.id}/delete/"
    assert "SMTPUTF8" in text_of(browser.post(delete, {"typed": "zoë@example.com"}))
    assert "not the address" in text_of(browser.post(delete, {"typed": "zoe@example.com"}))
    assert browser.post(delete, {"typed": DISPLAYED}).status_code == 302
    assert superuser.execute("SELECT FROM creators WHERE email = %s", [STORED]).fetchone() is None


# --- commands -----------------------------------------------------------------------------------
def test_createsuperuser_stores_the_canonical_address(transactional_db: None, monkeypatch: Any) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a quiet sentence of Olga's")
    call_command("createsuperuser", "--noinput", email="Olga@Bücher.example", stdout=io.StringIO())
    with using_alias(OPERATOR):
        assert Operator.objects.get().email == "olga@xn--bcher-kva.example"


COMMANDS: dict[str, Callable[[str], Any]] = {
    "createsuperuser": lambda address: call_command("createsuperuser", "--noinput", email=address),
    "create_operator": lambda address: call_command("create_operator", address, "--group", "support"),
    "changepassword": lambda address: call_command("changepassword", address),
    "reset_second_factor": lambda address: call_command("reset_second_factor", address),
    "axes_reset_username": lambda address: call_command("axes_reset_username", address),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_refuses_a_malformed_address(
    transactional_db: None, monkeypatch: Any, command: str, superuser: psycopg.Connection
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a quiet sentence of Olga's")
    monkeypatch.setattr("sys.stdin", io.StringIO("a quiet sentence of Sue's\n"))
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a quiet sentence of Sue's")
    with pytest.raises(CommandError, match="SMTPUTF8"):
        COMMANDS[command]("zoë@example.com")
    with pytest.raises(CommandError, match="=\\?"):
        COMMANDS[command]("=?utf-8?q?bob?=@example.com")
    assert superuser.execute("SELECT FROM creators").fetchall() == []


def test_commands_accept_either_form(olga: Person, monkeypatch: Any, superuser: psycopg.Connection) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a quiet sentence of Olga's")
    call_command("changepassword", "olga@bücher.example", stdout=io.StringIO())
    assert sign_in_as(olga.email, "a quiet sentence of Olga's").status_code == 302
    call_command("reset_second_factor", "olga@bücher.example", stdout=io.StringIO())
    sign_in_as(olga.email, "wrong")
    output = io.StringIO()
    call_command("axes_reset_username", "olga@bücher.example", stdout=output)
    assert "1 attempts removed" in output.getvalue()


def test_natural_key_accepts_any_spelling(olga: Person) -> None:
    with using_alias(OPERATOR):
        assert Creator.objects.get_by_natural_key("OLGA@bücher.example").pk == olga.id
        for username in (*MALFORMED, "", None):
            with pytest.raises(Creator.DoesNotExist):
                Creator.objects.get_by_natural_key(username)


# --- the database -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "email",
    [
        "Zoe@example.com", DISPLAYED, "zoe", "zoe@example", "a b@example.com", "a@b@example.com", " zoe@example.com",
        "zoe@example.com\n", "=?utf-8?q?bob?=@example.com", '"zoe"@example.com', "zoe..@example.com", "zoe@127.0.0.1",
        f"{'z' * 65}@example.com", f"zoe@{'z' * 64}.example", "zo\u00e9@example.com", "zoe@exam\u00adple.com", "",
    ],
)  # fmt: skip
def test_database_accepts_only_the_stored_form(
    zoe: Person, superuser: psycopg.Connection, email: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="creators_email_stored_form"):
        superuser.execute("UPDATE creators SET email = %s", [email])
    with pytest.raises(psycopg.errors.CheckViolation, match="creators_email_stored_form"):
        superuser.execute(
            "INSERT INTO creators (id, email, password, holds_email, display_name, is_active, is_staff, "
            "is_superuser, created_at) VALUES (%s, %s, 'x', false, '', true, false, false, now())",
            [uuid4(), email],
        )


def test_database_accepts_all_valid_characters(zoe: Person, superuser: psycopg.Connection) -> None:
    for email in ("!#$%&'*+/?=^_`{|}~-.a%%s@r3---sn.xn--bcher-kva.example", "root@localhost"):
        superuser.execute("UPDATE creators SET email = %s", [email])
