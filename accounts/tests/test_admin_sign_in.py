"""Olga's door: the same lockout with a count of its own, and words instead of an error page."""

import re
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.hashers import make_password
from django.test import Client

from accounts.models import Creator
from accounts.tests.support.flows import events, log_in
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.operators import enter as enter_wholly
from config.tests.support.operators import make_operator
from tenancy.context import OPERATOR, using_alias


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


def enter(person: Person, password: str, client: Client | None = None) -> Any:
    return (client or Client()).post("/admin/login/", {"username": person.email, "password": password})


def says(response: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_right_password_and_code_open_the_admin(olga: Person, superuser: psycopg.Connection) -> None:
    assert enter_wholly(olga).get("/admin/").status_code == 200
    assert events(superuser, of=olga.id) == ["login.succeeded", "operator.signed_in"]


def test_creators_do_not_get_in(ada: Person) -> None:
    response = enter(ada, ada.password)
    assert response.status_code == 200
    assert "Please enter the correct" in says(response)


def test_sixth_attempt_hears_when_to_come_back(olga: Person, superuser: psycopg.Connection) -> None:
    for _ in range(5):
        assert "Please enter the correct" in says(enter(olga, "wrong"))
    response = enter(olga, olga.password)
    assert response.status_code == 200
    assert re.search(r"You can try again at \d\d:\d\d:\d\d UTC", says(response))
    assert events(superuser, of=olga.id) == ["login.failed"] * 5 + ["account.locked"]
    superuser.execute(
        "UPDATE axes_accessattempt SET attempt_time = attempt_time - %s", [timedelta(minutes=30)]
    )
    assert enter(olga, olga.password).status_code == 302


def test_an_unknown_operator_is_answered_alike(olga: Person) -> None:
    nobody = Person(olga.id, "nobody@example.com")
    for who in (olga, nobody):
        answers = [says(enter(who, "wrong")) for _ in range(6)]
        assert ["Please enter the correct" in answer for answer in answers] == [True] * 5 + [False]
        assert "You can try again" in answers[5]


def test_counts_of_api_and_admin_know_nothing_of_each_other(api: API, olga: Person) -> None:
    for _ in range(6):
        log_in(api, olga.email, "wrong")
    assert enter(olga, olga.password).status_code == 302
    for _ in range(6):
        enter(olga, "wrong")
    assert enter(olga, olga.password).status_code == 200
    ada = make_creator("ada@example.com")
    for _ in range(6):
        enter(ada, "wrong")
    assert log_in(api, ada.email).status_code == 200


def test_operator_lifts_a_lock_in_the_admin(
    api: API, ada: Person, olga: Person, superuser: psycopg.Connection
) -> None:
    for _ in range(5):
        log_in(api, ada.email, "wrong")
    client = enter_wholly(olga)
    listed = client.get("/admin/axes/accessattempt/")
    assert "ada@example.com" in says(listed)
    assert "Locked Out" in says(listed)
    ((row,),) = superuser.execute(
        "SELECT id FROM axes_accessattempt WHERE username = %s", [ada.email]
    ).fetchall()
    page = f"/admin/axes/accessattempt/{row}/"
    assert "ada@example.com" in says(client.get(page + "change/"))
    assert client.post(page + "delete/", {"post": "yes"}).status_code == 302
    assert log_in(api, ada.email).status_code == 200
    assert events(superuser, of=ada.id).count("account.unlocked") == 1


def test_password_of_old_costs_is_hashed_anew(olga: Person) -> None:
    with using_alias(OPERATOR):
        Creator.objects.filter(pk=olga.id).update(password=make_password(olga.password, hasher="bcrypt"))
    assert enter(olga, olga.password).status_code == 302
    with using_alias(OPERATOR):
        assert Creator.objects.get(pk=olga.id).password.startswith("argon2$")


def test_password_set_decomposed_is_the_composed_one(olga: Person) -> None:
    with using_alias(OPERATOR):
        operator = Creator.objects.get(pk=olga.id)
        operator.set_password("Zoe\u0308 likes caf\u00e9s a lot")
        operator.save()
        assert operator.check_password("Zo\u00eb likes cafe\u0301s a lot")
    assert enter(olga, "Zo\u00eb likes cafe\u0301s a lot").status_code == 302


def test_the_admins_own_scripts_run_and_the_pages_have_none(olga: Person) -> None:
    policy = Client().get("/admin/login/").headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "script-src" not in Client().get("/account/password-reset/").headers["Content-Security-Policy"]
