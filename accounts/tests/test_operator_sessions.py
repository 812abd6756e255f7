"""Sessions of operators: their end, and reauthentication."""

import time
from typing import Any

import psycopg
import pytest
from django.test import Client

from accounts.services.operators import mfa
from accounts.tests.support.flows import events
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person
from config.tests.support.client import API
from config.tests.support.operators import (
    code_of,
    give_password,
    make_operator,
    reauthenticate,
    sign_in_operator,
)
from tenancy.context import OPERATOR, using_alias

LOCKS = "/admin/axes/accessattempt/"


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`clock(seconds)` moves `time.time()`, by which the ages of sessions are measured."""
    real = time.time

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return move


def unused_for(superuser: psycopg.Connection, minutes: int) -> None:
    superuser.execute(
        "UPDATE django_session SET expire_date = expire_date - make_interval(mins => %s)", [minutes]
    )


def is_signed_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def key_of(client: Client) -> str:
    return client.cookies["sessionid"].value


def test_session_ends_after_thirty_minutes_unused(olga: Person, superuser: psycopg.Connection) -> None:
    client = sign_in_operator(olga)
    for _ in range(3):
        unused_for(superuser, 29)
        assert is_signed_in(client)
    unused_for(superuser, 30)
    assert client.get("/admin/").url.startswith("/admin/login/")


def test_session_ends_twelve_hours_after_the_sign_in(
    olga: Person, clock: Any, superuser: psycopg.Connection
) -> None:
    client = sign_in_operator(olga)
    clock(12 * 3600 - 60)
    assert is_signed_in(client)
    clock(12 * 3600 + 60)
    assert not is_signed_in(client)
    assert superuser.execute("SELECT count(*) FROM django_session").fetchone() == (0,)


def test_session_key_changes_with_each_step(olga: Person) -> None:
    client = give_password(olga)
    keys = [key_of(client)]
    client.post("/admin/second-factor/", {"credential": code_of(olga)})
    keys.append(key_of(client))
    reauthenticate(client, olga)
    keys.append(key_of(client))
    assert len(set(keys)) == 3
    for old in keys[:2]:
        mallory = Client()
        mallory.cookies["sessionid"] = old
        assert mallory.get("/admin/second-factor/").url.startswith("/admin/login/")


def test_signing_in_again_requires_the_second_factor_again(olga: Person) -> None:
    client = sign_in_operator(olga)
    reauthenticate(client, olga)
    give_password(olga, client)
    assert not is_signed_in(client)
    assert client.get("/admin/", follow=True).redirect_chain[-1][0].startswith("/admin/second-factor/")


def test_signing_out_ends_complete_and_incomplete_sessions(
    olga: Person, superuser: psycopg.Connection
) -> None:
    for client in (sign_in_operator(olga), give_password(olga)):
        key = key_of(client)
        assert client.get("/admin/logout/").status_code == 405
        assert client.post("/admin/logout/").status_code == 200
        client.cookies["sessionid"] = key
        assert client.get("/admin/second-factor/").url.startswith("/admin/login/")
    assert events(superuser, of=olga.id).count("operator.signed_out") == 2


def test_deactivation_ends_the_session(olga: Person, superuser: psycopg.Connection) -> None:
    client = sign_in_operator(olga)
    superuser.execute("UPDATE creators SET is_active = false WHERE id = %s", [olga.id])
    assert not is_signed_in(client)


def test_reset_of_the_second_factor_ends_the_session(olga: Person) -> None:
    client = sign_in_operator(olga)
    with using_alias(OPERATOR):
        assert mfa.reset(olga.id, client=ClientInfo())
    assert client.get("/admin/second-factor/set-up/").url.startswith("/admin/login/")


def test_password_change_ends_other_sessions(olga: Person) -> None:
    here, elsewhere = sign_in_operator(olga), sign_in_operator(olga)
    new = "another sentence of Olga's"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    assert here.post("/admin/password_change/", form).status_code == 200
    assert here.post("/admin/password_change/", form | {"old_password": olga.password}).status_code == 302
    assert is_signed_in(here)
    assert not is_signed_in(elsewhere)
    olga.password = new
    assert is_signed_in(sign_in_operator(olga))


def test_wrong_old_passwords_lock_the_account(olga: Person) -> None:
    client, new = sign_in_operator(olga), "another sentence of Olga's"
    form = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    for _ in range(5):
        client.post("/admin/password_change/", form)
    response = client.post("/admin/password_change/", form | {"old_password": olga.password})
    assert "You can try again at" in response.content.decode()


def test_reauthentication_takes_password_or_code(olga: Person, superuser: psycopg.Connection) -> None:
    client = sign_in_operator(olga)
    path = "/admin/confirm/?next=%2Fadmin%2Faxes%2Faccessattempt%2F%3Fq%3Dada"
    assert "neither your password nor a code" in client.post(path, {"credential": "wrong"}).content.decode()
    assert client.post(path, {"credential": code_of(olga, steps=-1)}).url == f"{LOCKS}?q=ada"
    assert client.post(path, {"credential": olga.password}).url == f"{LOCKS}?q=ada"
    recorded = events(superuser, of=olga.id)
    assert recorded.count("operator.confirmed") == 2
    assert recorded.count("password.check_failed") == 1


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil"]
)
def test_next_never_redirects_to_another_site(olga: Person, elsewhere: str) -> None:
    client = sign_in_operator(olga)
    form = {"credential": olga.password}
    assert client.post(f"/admin/confirm/?next={elsewhere}", form).url == "/admin/"
    client = give_password(olga)
    code = code_of(olga, steps=-1)
    assert client.post(f"/admin/second-factor/?next={elsewhere}", {"credential": code}).url == "/admin/"


def test_failed_reauthentications_lock_the_account(olga: Person) -> None:
    client = sign_in_operator(olga)
    for _ in range(5):
        client.post("/admin/confirm/", {"credential": "wrong"})
    assert (
        "You can try again at"
        in client.post("/admin/confirm/", {"credential": olga.password}).content.decode()
    )
    for _ in range(5):
        client.post("/admin/confirm/", {"credential": "000000"})
    assert (
        "You can try again at"
        in client.post("/admin/confirm/", {"credential": code_of(olga)}).content.decode()
    )


def test_steps_of_the_sign_in_share_a_rate_limit(olga: Person, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"login": "2/m"}
    client = give_password(olga)
    statuses = [client.post("/admin/second-factor/", {"credential": "000000"}).status_code for _ in range(3)]
    assert statuses[-1] == 429


def test_api_ignores_the_session_cookie_of_the_admin(api: API, olga: Person) -> None:
    api.cookies["sessionid"] = key_of(sign_in_operator(olga))
    assert api.get("me").status_code == 401
    assert api.get("/healthz").status_code == 200


def test_admin_ignores_the_access_token_of_a_creator(ada: Person, olga: Person) -> None:
    mallory = {"Authorization": f"Bearer {ada.access}"}
    assert Client().get("/admin/", headers=mallory).status_code == 302
    client, new = sign_in_operator(olga), "another sentence of Olga's"
    form = {"old_password": olga.password, "new_password1": new, "new_password2": new}
    assert client.post("/admin/password_change/", form, headers=mallory).status_code == 302
