"""Operators and their roles: only superusers and commands can change them."""

import io
from collections import Counter
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import Creator, Operator
from accounts.permissions import ROLES
from accounts.services.operators import accounts
from accounts.tests.support.flows import all_at_once, events
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.operators import give_password, make_operator, reauthenticate, sign_in_operator
from tenancy.context import OPERATOR, using_alias

LIST = "/admin/accounts/operator/"


@pytest.fixture
def olga(transactional_db: None) -> Person:
    return make_operator("olga@example.com")


@pytest.fixture
def sam(transactional_db: None) -> Person:
    return make_operator("sam@example.com", "support")


def enter_and_reauthenticate(person: Person) -> Client:
    client = sign_in_operator(person)
    reauthenticate(client, person)
    return client


def change(client: Client, of: Person, **rights: Any) -> Any:
    return client.post(f"{LIST}{of.id}/change/", {"role": "support", "is_active": "on", **rights})


def rights(superuser: psycopg.Connection, person: Person) -> tuple[Any, ...]:
    row = superuser.execute(
        "SELECT is_active, is_superuser, array_agg(g.name) FROM creators c LEFT JOIN creators_groups cg "
        "ON cg.creator_id = c.id LEFT JOIN auth_group g ON g.id = cg.group_id WHERE c.id = %s GROUP BY c.id",
        [person.id],
    ).fetchone()
    assert row
    return row


def test_groups_are_reset_to_the_declared_permissions(olga: Person) -> None:
    with using_alias(OPERATOR):
        Group.objects.get(name="support").permissions.set(
            Group.objects.get(name="security").permissions.all()
        )
        make_operator("x@example.com", "")
        for name, labels in ROLES.items():
            found = Group.objects.get(name=name).permissions.select_related("content_type")
            assert {
                f"{permission.content_type.app_label}.{permission.codename}" for permission in found
            } == labels


def test_superuser_changes_roles(
    olga: Person, sam: Person, superuser: psycopg.Connection, run_jobs: Any
) -> None:
    client = enter_and_reauthenticate(olga)
    for form, found in (
        ({"role": "security"}, (True, False, ["security"])),
        ({"role": "superuser"}, (True, True, [None])),
        ({"role": "support"}, (True, False, ["support"])),
        ({"role": "support", "is_active": ""}, (False, False, ["support"])),
    ):
        assert change(client, sam, **form).status_code == 302
        assert rights(superuser, sam) == found
    assert events(superuser, of=sam.id) == ["operator.rights_changed"] * 4
    run_jobs()
    assert [message.to for message in mail.outbox] == [[sam.email]]


def test_saving_unchanged_rights_records_nothing(
    olga: Person, sam: Person, superuser: psycopg.Connection
) -> None:
    assert change(enter_and_reauthenticate(olga), sam).status_code == 302
    assert events(superuser, of=sam.id) == []


def test_superusers_cannot_change_their_own_rights(olga: Person, superuser: psycopg.Connection) -> None:
    client = enter_and_reauthenticate(olga)
    assert client.get(f"{LIST}{olga.id}/change/").status_code == 200
    assert change(client, olga).status_code == 403
    assert change(client, olga, role="superuser", is_active="").status_code == 403
    assert rights(superuser, olga) == (True, True, [None])
    with using_alias(OPERATOR), pytest.raises(PermissionDenied):
        accounts.change_rights(olga.id, role="support", is_active=True, by=olga.id, client=ClientInfo())


@pytest.mark.parametrize("role", ["support", "security", ""])
def test_other_roles_cannot_see_or_change_operators(
    role: str, sam: Person, superuser: psycopg.Connection
) -> None:
    person = make_operator("eve@example.com", role)
    client = enter_and_reauthenticate(person)
    assert client.get(LIST).status_code == 403
    for victim in (sam, person):
        assert change(client, victim, role="superuser").status_code == 403
        assert client.get(f"{LIST}{victim.id}/change/").status_code == 403
        assert client.get(f"/admin/accounts/creator/{victim.id}/change/").status_code in {403, 404}
    assert rights(superuser, person)[1] is False
    with using_alias(OPERATOR), pytest.raises(PermissionDenied):
        accounts.change_rights(sam.id, role="superuser", is_active=True, by=person.id, client=ClientInfo())


def test_two_superusers_demoting_each_other_leave_one(olga: Person, superuser: psycopg.Connection) -> None:
    superusers = [olga, make_operator("otto@example.com")]

    def demote(number: int) -> str:
        with using_alias(OPERATOR):
            try:
                accounts.change_rights(
                    superusers[1 - number].id,
                    role="support",
                    is_active=True,
                    by=superusers[number].id,
                    client=ClientInfo(),
                )
            except PermissionDenied:
                return "refused"
            return "done"

    assert Counter(all_at_once(2, demote)) == {"done": 1, "refused": 1}
    assert Counter(rights(superuser, each)[1] for each in superusers) == {True: 1, False: 1}


def test_creator_cannot_be_made_an_operator(olga: Person, ada: Person, superuser: psycopg.Connection) -> None:
    change(enter_and_reauthenticate(olga), ada, role="superuser")
    with using_alias(OPERATOR), pytest.raises(PermissionDenied):
        accounts.change_rights(ada.id, role="superuser", is_active=True, by=olga.id, client=ClientInfo())
    assert rights(superuser, ada) == (True, False, [None])


def test_changing_rights_requires_reauthentication(
    olga: Person, sam: Person, superuser: psycopg.Connection
) -> None:
    client = sign_in_operator(olga)
    page = f"{LIST}{sam.id}/change/"
    response = client.post(
        page, {"role": "security", "is_active": "on"}, headers={"Referer": f"http://testserver{page}"}
    )
    assert response.url == f"/admin/confirm/?next={page.replace('/', '%2F')}"
    confirmation = client.post(response.url, {"credential": olga.password})
    assert confirmation.url == page
    assert rights(superuser, sam) == (True, False, ["support"])
    assert "Please repeat the action" in client.get(page).content.decode()


def test_superuser_resets_second_factors_except_their_own(
    olga: Person, sam: Person, superuser: psycopg.Connection, run_jobs: Any
) -> None:
    client, sams = sign_in_operator(olga), sign_in_operator(sam)
    action = {"action": "reset_second_factor", "_selected_action": [str(sam.id), str(olga.id)]}
    assert client.post(LIST, action).url.startswith("/admin/confirm/")
    reauthenticate(client, olga)
    assert client.post(LIST, action).status_code == 302
    assert "reset: 1" in client.get(LIST).content.decode()
    assert events(superuser, of=sam.id)[-1] == "second_factor.reset"
    assert sams.get("/admin/second-factor/").url.startswith("/admin/login/")
    assert (
        give_password(sam)
        .get("/admin/", follow=True)
        .redirect_chain[-1][0]
        .startswith("/admin/second-factor/set-up/")
    )
    run_jobs()
    assert [message.to for message in mail.outbox] == [[sam.email]]


def test_console_resets_the_second_factor_of_a_superuser(olga: Person, superuser: psycopg.Connection) -> None:
    client = sign_in_operator(olga)
    call_command("reset_second_factor", "OLGA@example.com", stdout=io.StringIO())
    assert client.get("/admin/").status_code == 302
    assert events(superuser, of=olga.id)[-1] == "second_factor.reset"
    for email in (olga.email, "nobody@example.com"):
        with pytest.raises(CommandError, match="no operator"):
            call_command("reset_second_factor", email)


def create(monkeypatch: pytest.MonkeyPatch, email: str, password: str, group: str = "support") -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    call_command("create_operator", email, "--group", group, stdout=io.StringIO())


def test_console_creates_operators_of_a_role(
    olga: Person, api: API, monkeypatch: Any, superuser: psycopg.Connection
) -> None:
    create(monkeypatch, "Sue@Example.com", "a quiet sentence of Sue's", "security")
    with using_alias(OPERATOR):
        sue = Operator.objects.get(email="sue@example.com")
    person = Person(sue.pk, sue.email, "a quiet sentence of Sue's")
    assert rights(superuser, person) == (True, False, ["security"])
    assert events(superuser, of=sue.pk) == ["operator.created"]
    assert give_password(person).get("/admin/").status_code == 302
    assert api.post("login", {"email": sue.email, "password": person.password}).status_code == 401


@pytest.mark.parametrize(
    ("email", "password", "words"),
    [
        ("sue@example.com", "short", "at least 15"),
        ("sue@example.com", "sue@example.com.sue", "similar"),
        ("sue", "a quiet sentence of Sue's", "valid email"),
        ("taken@example.com", "a quiet sentence of Sue's", "already exists"),
    ],
)
def test_console_rejects_invalid_operators(
    olga: Person, monkeypatch: Any, email: str, password: str, words: str
) -> None:
    make_creator("taken@example.com")
    with pytest.raises(CommandError, match=words):
        create(monkeypatch, email, password)
    with using_alias(OPERATOR):
        assert not Creator.objects.filter(email__startswith="sue").exists()


def test_createsuperuser_is_recorded(superuser: psycopg.Connection, monkeypatch: Any) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a quiet sentence of Olga's")
    call_command("createsuperuser", "--noinput", email="Olga@example.com", stdout=io.StringIO())
    with using_alias(OPERATOR):
        olga = Operator.objects.get(email="olga@example.com")
    assert rights(superuser, Person(olga.pk, olga.email)) == (True, True, [None])
    assert events(superuser, of=olga.pk) == ["operator.created"]


def test_superuser_without_its_event_is_not_created(transactional_db: None, monkeypatch: Any) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a quiet sentence of Olga's")
    monkeypatch.setattr("accounts.models.creators.record", fail)
    with pytest.raises(RuntimeError):
        call_command("createsuperuser", "--noinput", email="olga@example.com")
    with using_alias(OPERATOR):
        assert not Operator.objects.exists()


def test_list_allows_no_filter_by_password(olga: Person) -> None:
    assert sign_in_operator(olga).get(f"{LIST}?password__startswith=argon2").status_code == 400


def test_console_asks_for_the_password_twice(olga: Person, monkeypatch: Any) -> None:
    passwords = iter(["a quiet sentence of Sue's", "another each"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(passwords))
    with pytest.raises(CommandError, match="not the same"):
        call_command("create_operator", "sue@example.com", "--group", "support")
