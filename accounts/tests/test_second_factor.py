"""The second factor of operators: set-up, sign-in and recovery codes."""

import re
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.core import mail
from django.test import Client

from accounts.models import Authenticator, Creator
from accounts.services import lockout
from accounts.services.operators import mfa
from accounts.tests.support.flows import all_at_once, events, log_lines
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person
from config.tests.support.operators import (
    code_for,
    code_of,
    give_password,
    make_operator,
    reauthenticate,
    sign_in_operator,
)
from tenancy.context import OPERATOR, using_alias

CODES = "/admin/second-factor/"
SET_UP = "/admin/second-factor/set-up/"
RECOVERY_CODE = re.compile(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b")


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


@pytest.fixture
def nora(transactional_db: None) -> Person:
    return make_operator("nora@example.com", "support", with_app=False)


def submit_code(client: Client, code: str) -> Any:
    return client.post(CODES, {"credential": code})


def is_signed_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def shown_secret(client: Client) -> bytes:
    """The encrypted secret that this client is setting up."""
    client.get(SET_UP)
    with using_alias(OPERATOR):
        return str(client.session["new_secret"]).encode()


def set_up(client: Client) -> list[str]:
    page = client.post(SET_UP, {"credential": code_for(shown_secret(client))})
    return RECOVERY_CODE.findall(page.content.decode())


def test_password_alone_redirects_every_page_to_set_up(nora: Person) -> None:
    client = give_password(nora)
    for path in (
        "/admin/",
        "/admin/accounts/creator/",
        "/admin/confirm/",
        "/admin/password_change/",
        "/admin/jsi18n/",
    ):
        response = client.get(path, follow=True)
        assert response.redirect_chain[-1][0].startswith(SET_UP), path
        assert "Creators" not in response.content.decode()


def test_set_up_shows_key_and_codes_and_signs_in(nora: Person, superuser: psycopg.Connection) -> None:
    client = give_password(nora)
    page = client.get(SET_UP).content.decode()
    secret = shown_secret(client)
    assert mfa.base32_secret(secret) in page
    assert 'src="data:image/svg+xml' in page
    assert not is_signed_in(client)
    codes = set_up(client)
    assert len(set(codes)) == 10
    assert is_signed_in(client)
    assert events(superuser, of=nora.id) == ["login.succeeded", "second_factor.set_up"]


def test_set_up_requires_a_code_of_the_shown_key(nora: Person) -> None:
    client = give_password(nora)
    wrong = client.post(SET_UP, {"credential": "000000"})
    assert "This code is wrong" in wrong.content.decode()
    assert client.post(SET_UP, {"credential": "\u0661\u0662\u0663456"}).status_code == 200
    assert not is_signed_in(client)


def test_each_session_sets_up_its_own_key(nora: Person) -> None:
    mallory, client = give_password(nora), give_password(nora)
    assert shown_secret(mallory) != shown_secret(client)
    key = shown_secret(mallory)
    assert len(set_up(client)) == 10
    assert mallory.post(SET_UP, {"credential": code_for(key)}).status_code == 302
    assert not is_signed_in(mallory)
    assert code_of(nora) != code_for(key)


def test_one_of_several_concurrent_set_ups_succeeds(nora: Person) -> None:
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=nora.id)

    def attempt(_number: int) -> bool:
        secret = mfa.new_secret()
        with using_alias(OPERATOR):
            try:
                mfa.set_up(
                    operator, secret=secret, code=code_for(secret), replacing=None, client=ClientInfo()
                )
            except mfa.AlreadySetUpError:
                return False
            return True

    assert Counter(all_at_once(8, attempt)) == {True: 1, False: 7}


def test_secrets_are_stored_encrypted_or_as_digests(nora: Person, superuser: psycopg.Connection) -> None:
    client = give_password(nora)
    secret = shown_secret(client)
    raw = mfa.fernet_for(mfa.PURPOSE).decrypt(secret)
    with log_lines() as lines:
        codes = set_up(client)
    spellings = [raw.hex(), mfa.base32_secret(secret), *codes, *(code.replace("-", "") for code in codes)]
    tables = superuser.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for (table,) in tables.fetchall():
        rows = superuser.execute(f"SELECT t::text FROM {table} t".encode()).fetchall()
        text = " ".join(row for (row,) in rows)
        assert not [each for each in spellings if each in text], table
    assert not [each for each in spellings if each in lines.getvalue()]


def test_code_works_once(olga: Person) -> None:
    code = code_of(olga)
    first, second = give_password(olga), give_password(olga)
    assert submit_code(first, f" {code[:3]} {code[3:]} ").status_code == 302
    assert is_signed_in(first)
    assert "used before" in submit_code(second, code).content.decode()
    assert not is_signed_in(second)


def test_code_of_the_adjacent_step_works_and_others_fail(olga: Person) -> None:
    client = give_password(olga)
    assert submit_code(client, code_of(olga, steps=3)).status_code == 200
    assert submit_code(client, code_of(olga, steps=-3)).status_code == 200
    assert submit_code(client, code_of(olga, steps=1)).status_code == 302


def test_code_works_once_in_concurrent_requests(olga: Person, settings: Any) -> None:
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 100
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=olga.id)
    code = code_of(olga)

    def attempt(_number: int) -> bool:
        with using_alias(OPERATOR):
            return mfa.authenticate(operator, code=code, client=ClientInfo()) is not None

    assert Counter(all_at_once(20, attempt)) == {True: 1, False: 19}


def test_recovery_code_works_once_in_concurrent_requests(nora: Person, settings: Any) -> None:
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 100
    code = set_up(give_password(nora))[0]
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=nora.id)

    def attempt(_number: int) -> bool:
        with using_alias(OPERATOR):
            return mfa.authenticate(operator, code=code, client=ClientInfo()) is not None

    assert Counter(all_at_once(20, attempt)) == {True: 1, False: 19}


def test_recovery_code_works_with_and_without_dashes(nora: Person, superuser: psycopg.Connection) -> None:
    first, second, *_ = set_up(give_password(nora))
    for code in (first.lower().replace("-", ""), second):
        client = give_password(nora)
        assert submit_code(client, code).status_code == 302
        assert is_signed_in(client)
    assert "8" in client.get(CODES).content.decode()
    assert events(superuser, of=nora.id).count("recovery_code.used") == 2


@pytest.mark.parametrize("parallel", [1, 30])
def test_sixth_wrong_code_is_not_checked(
    olga: Person, superuser: psycopg.Connection, monkeypatch: Any, parallel: int
) -> None:
    checked: list[str] = []

    def counted(_secret: bytes, code: str) -> None:
        checked.append(code)

    monkeypatch.setattr(mfa, "_matching_step", counted)
    monkeypatch.setattr(lockout, "MAX_WAIT", 30)
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=olga.id)

    def guess(number: int) -> str:
        with using_alias(OPERATOR):
            try:
                mfa.authenticate(operator, code=f"{number:06}", client=ClientInfo())
            except lockout.AccountLockedError:
                return "locked"
            return "wrong"

    results: Counter[str] = Counter()
    for start in range(0, 30, parallel):
        results += Counter(all_at_once(parallel, lambda number, start=start: guess(start + number)))  # type: ignore[misc]
    assert len(checked) == 5
    assert results == {"wrong": 5, "locked": 25}
    monkeypatch.undo()
    client = give_password(olga)
    assert "You can try again at" in submit_code(client, code_of(olga)).content.decode()
    assert events(superuser, of=olga.id).count("account.locked") == 1
    superuser.execute(
        "UPDATE axes_accessattempt SET attempt_time = attempt_time - %s", [timedelta(minutes=30)]
    )
    assert submit_code(client, code_of(olga)).status_code == 302


def test_wrong_recovery_codes_share_the_count(olga: Person) -> None:
    client = give_password(olga)
    for guess in ("AAAA-AAAA-AAAA-AAAA", "000000", "BBBB-BBBB-BBBB-BBBB", "000001", "x"):
        assert "This code is wrong" in submit_code(client, guess).content.decode()
    assert "You can try again at" in submit_code(client, code_of(olga)).content.decode()


def test_operator_is_notified_of_five_wrong_codes(olga: Person, run_jobs: Any) -> None:
    client = give_password(olga)
    for _ in range(5):
        submit_code(client, "000000")
    run_jobs()
    (message,) = mail.outbox
    assert message.to == [olga.email]
    assert "knows your password" in message.subject
    assert "/admin/" in message.body
    assert "password-reset" not in message.body


def test_renewing_recovery_codes_requires_reauthentication(nora: Person) -> None:
    client = give_password(nora)
    old = set_up(client)
    renew = "/admin/second-factor/recovery-codes/"
    assert client.post(renew).url.startswith("/admin/confirm/")
    reauthenticate(client, nora)
    new = RECOVERY_CODE.findall(client.post(renew).content.decode())
    assert len(set(new) - set(old)) == 10
    again = give_password(nora)
    assert submit_code(again, old[0]).status_code == 200
    assert submit_code(again, new[0]).status_code == 302


def test_replacing_the_app_ends_the_other_sessions(olga: Person) -> None:
    here, elsewhere = sign_in_operator(olga), sign_in_operator(olga)
    assert here.get(SET_UP).url.startswith("/admin/confirm/")
    assert here.post(SET_UP, {"credential": "000000"}).url.startswith("/admin/confirm/")
    reauthenticate(here, olga)
    before = code_of(olga)
    assert len(set_up(here)) == 10
    assert code_of(olga) != before
    assert is_signed_in(here)
    assert not is_signed_in(elsewhere)
    assert elsewhere.get(CODES).url.startswith("/admin/login/"), "the password has to be given again too"


def test_recovery_code_works_after_a_change_of_secret_key(nora: Person, settings: Any) -> None:
    codes, code = set_up(give_password(nora)), code_of(nora, steps=-1)
    settings.SECRET_KEY = "another " * 8
    client = give_password(nora)
    assert submit_code(client, code).status_code == 200
    assert submit_code(client, codes[0]).status_code == 302


def test_authenticator_of_another_operator_verifies_nothing(olga: Person, nora: Person) -> None:
    client = sign_in_operator(olga)
    with using_alias(OPERATOR):
        session = client.session
        foreign = Authenticator.objects.create(
            user_id=nora.id, secret=b"x", last_step=0, created_at="2026-01-01T00:00Z"
        )
        session["otp_device_id"] = foreign.persistent_id
        session.save()
    assert not is_signed_in(client)
