"""The admin's sign-in: the lockout with its own count, and errors in the form."""

import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.hashers import make_password
from django.test import Client

from accounts.models import Creator
from accounts.tests.support.creator_pages import text_of
from accounts.tests.support.flows import events, log_in
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.operators import make_operator, sign_in_operator
from tenancy.context import OPERATOR, using_alias


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


def submit_password(person: Person, password: str, client: Client | None = None) -> Any:
    return (client or Client()).post("/admin/login/", {"username": person.email, "password": password})


def test_password_and_code_open_the_admin(olga: Person, superuser: psycopg.Connection) -> None:
    assert sign_in_operator(olga).get("/admin/").status_code == 200
    assert events(superuser, of=olga.id) == ["login.succeeded", "operator.signed_in"]


def test_creators_cannot_sign_in(ada: Person) -> None:
    response = submit_password(ada, ada.password)
    assert response.status_code == 200
    assert "Please enter the correct" in text_of(response)


def test_sixth_attempt_says_when_to_try_again(olga: Person, superuser: psycopg.Connection) -> None:
    for _ in range(5):
        assert "Please enter the correct" in text_of(submit_password(olga, "wrong"))
    response = submit_password(olga, olga.password)
    assert response.status_code == 200
    assert re.search(r"You can try again at \d\d:\d\d:\d\d UTC", text_of(response))
    assert events(superuser, of=olga.id) == ["login.failed"] * 5 + ["account.locked"]
    superuser.execute(
        "UPDATE axes_accessattempt SET attempt_time = attempt_time - %s", [timedelta(minutes=30)]
    )
    assert submit_password(olga, olga.password).status_code == 302


def test_unknown_operator_gets_the_same_responses(olga: Person) -> None:
    nobody = Person(olga.id, "nobody@example.com")
    for person in (olga, nobody):
        texts = [text_of(submit_password(person, "wrong")) for _ in range(6)]
        assert ["Please enter the correct" in text for text in texts] == [True] * 5 + [False]
        assert "You can try again" in texts[5]


def test_api_and_admin_have_separate_failure_counts(api: API, olga: Person) -> None:
    for _ in range(6):
        log_in(api, olga.email, "wrong")
    assert submit_password(olga, olga.password).status_code == 302
    for _ in range(6):
        submit_password(olga, "wrong")
    assert submit_password(olga, olga.password).status_code == 200
    ada = make_creator("ada@example.com")
    for _ in range(6):
        submit_password(ada, "wrong")
    assert log_in(api, ada.email).status_code == 200


def test_operator_unlocks_an_account_in_the_admin(
    api: API, ada: Person, olga: Person, superuser: psycopg.Connection
) -> None:
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    client = sign_in_operator(olga)
    listed = client.get("/admin/axes/accessattempt/")
    assert "ada@example.com" in text_of(listed)
    assert "Locked Out" in text_of(listed)
    ((row,),) = superuser.execute(
        "SELECT id FROM axes_accessattempt WHERE username = %s", [ada.email]
    ).fetchall()
    page = f"/admin/axes/accessattempt/{row}/"
    assert "ada@example.com" in text_of(client.get(page + "change/"))
    assert client.post(page + "delete/", {"post": "yes"}).status_code == 302
    assert log_in(api, ada.email).status_code == 200
    assert events(superuser, of=ada.id).count("account.unlocked") == 1


def test_password_with_old_costs_is_rehashed(olga: Person) -> None:
    with using_alias(OPERATOR):
        Creator.objects.filter(pk=olga.id).update(password=make_password(olga.password, hasher="bcrypt"))
    assert submit_password(olga, olga.password).status_code == 302
    with using_alias(OPERATOR):
        assert Creator.objects.get(pk=olga.id).password.startswith("argon2$")


def test_password_is_compared_in_nfc(olga: Person) -> None:
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=olga.id)
        operator.set_password("Zoe\u0308 likes caf\u00e9s a lot")
        operator.save()
        assert operator.check_password("Zo\u00eb likes cafe\u0301s a lot")
    assert submit_password(olga, "Zo\u00eb likes cafe\u0301s a lot").status_code == 302


def test_csp_allows_scripts_only_in_the_admin(olga: Person) -> None:
    policy = Client().get("/admin/login/").headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "script-src" not in Client().get("/account/password-reset/").headers["Content-Security-Policy"]
