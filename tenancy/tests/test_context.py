"""The current tenant lasts for one transaction, and scopes of different tenants do not nest."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connections, transaction

from config.tests.support.accounts import Person
from tenancy import routers
from tenancy.context import (
    OPERATOR,
    TENANT_SETTING,
    current_alias,
    current_tenant,
    tenant_scope,
    using_alias,
)
from tenancy.exceptions import TenantMismatchError, TenantScopeRequiredError

Creator = get_user_model()


def setting(alias: str = "default") -> str | None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting(%s, true)", [TENANT_SETTING])
        (value,) = cursor.fetchone()
    return value  # type: ignore[no-any-return]


def visible(alias: str = "default") -> list[Any]:
    """The visible addresses, without the guard."""
    connections[alias].ensure_connection()
    rows = connections[alias].connection.execute("SELECT email FROM creators ORDER BY 1")
    return [email for (email,) in rows]


@pytest.fixture(autouse=True)
def assert_nothing_remains() -> Iterator[None]:
    yield
    assert current_tenant() is None
    assert current_alias() == "default"
    assert setting() in (None, "")
    assert not connections["default"].in_atomic_block
    assert visible() == []


def test_scope_shows_only_its_tenant(ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        with tenant_scope(person.id):
            assert current_tenant() == person.id
            assert [creator.email for creator in Creator.objects.all()] == [person.email]
            assert setting() == str(person.id)


def test_scopes_of_one_tenant_nest_in_one_transaction(ada: Person) -> None:
    with tenant_scope(ada.id):
        with tenant_scope(ada.id):
            Creator.objects.update(display_name="Ada L.")
        assert visible() == [ada.email]
        transaction.set_rollback(True)
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_scope_of_another_tenant_cannot_be_nested(ada: Person, bob: Person) -> None:
    with tenant_scope(ada.id):
        with pytest.raises(TenantMismatchError), tenant_scope(bob.id):
            pytest.fail("the scope was opened")
        assert visible() == [ada.email]
        assert Creator.objects.update(display_name="still writing") == 1


def test_exception_resets_the_tenant(ada: Person) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            Creator.objects.update(display_name="lost")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert setting() == ""  # a pooled connection reads this from now on; NULLIF makes it NULL
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_failed_statement_resets_the_tenant(ada: Person) -> None:
    with pytest.raises(IntegrityError), tenant_scope(ada.id):
        Creator.objects.create(id=ada.id, email="twice@example.com")
    assert setting() == ""


def test_scope_in_an_outer_transaction_resets_the_tenant(ada: Person, bob: Person) -> None:
    with transaction.atomic():
        with tenant_scope(ada.id):
            assert visible() == [ada.email]
        assert setting() == ""
        assert visible() == []
        with tenant_scope(bob.id):
            assert visible() == [bob.email]


def test_failed_scope_rolls_back_the_outer_transaction(ada: Person) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            raise ZeroDivisionError

    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            fail()
        assert transaction.get_rollback()


def test_scope_marked_for_rollback_raises_nothing(ada: Person) -> None:
    with transaction.atomic(), tenant_scope(ada.id):
        Creator.objects.update(display_name="lost")
        transaction.set_rollback(True)
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_savepoint_rollback_keeps_the_tenant(ada: Person) -> None:
    with tenant_scope(ada.id):
        with pytest.raises(IntegrityError), transaction.atomic():
            Creator.objects.create(id=ada.id, email="twice@example.com")
        assert visible() == [ada.email]


def test_queryset_evaluated_after_the_scope_fails(ada: Person) -> None:
    with tenant_scope(ada.id):
        lazy = Creator.objects.all()
    with pytest.raises(TenantScopeRequiredError, match="query on creators outside"):
        list(lazy)


# --- the guard --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    ['SELECT * FROM "creators"', "SELECT 1 FROM creators c", 'UPDATE "sessions" SET id = id',
     'DELETE FROM "user_sessions"', "INSERT INTO audit_logs (id) VALUES (NULL)", "TABLE refresh_tokens"],
)  # fmt: skip
def test_guard_stops_a_tenant_query_outside_a_scope(statement: str) -> None:
    with connections["default"].cursor() as cursor, pytest.raises(TenantScopeRequiredError):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1 AS creators_count", "SELECT * FROM django_migrations LIMIT 0", "SELECT 'a' AS my_sessions"],
)
def test_guard_allows_other_queries(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


def test_guard_ignores_parameters(ada: Person) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT %s", ["DELETE FROM creators"])
        assert cursor.fetchone() == ("DELETE FROM creators",)


def test_operator_scope_does_not_affect_the_app_role(ada: Person) -> None:
    with using_alias(OPERATOR), tenant_scope(ada.id):
        with connections["default"].cursor() as cursor, pytest.raises(TenantScopeRequiredError):
            cursor.execute("SELECT * FROM creators")
        assert visible("default") == []


# --- aliases ----------------------------------------------------------------------------------


def test_router_uses_the_current_alias(ada: Person, bob: Person) -> None:
    assert Creator.objects.all().db == "default"
    with using_alias(OPERATOR):
        assert current_alias() == OPERATOR
        assert Creator.objects.all().db == OPERATOR
        assert {creator.email for creator in Creator.objects.all()} == {ada.email, bob.email}
    assert current_alias() == "default"


def test_alias_is_restored_after_an_exception() -> None:
    def fail() -> None:
        with using_alias(OPERATOR):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert current_alias() == "default"


def test_each_alias_has_its_own_scope(ada: Person, bob: Person) -> None:
    with using_alias(OPERATOR), tenant_scope(bob.id):
        with using_alias("default"), tenant_scope(ada.id):
            assert visible() == [ada.email]
        assert current_tenant() == bob.id
        assert setting(OPERATOR) == str(bob.id)
        with pytest.raises(TenantMismatchError), tenant_scope(ada.id):
            pytest.fail("the scope was opened")


def test_only_the_owner_migrates_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    router = routers.TenancyRouter()
    assert [router.allow_migrate(alias, "x") for alias in ("owner", "default", OPERATOR)] == [
        True,
        False,
        False,
    ]
    monkeypatch.setattr(routers, "OWNER", "missing")
    assert router.allow_migrate("default", "x")


def test_threads_do_not_share_a_scope(ada: Person) -> None:
    tenants: list[UUID | None] = []
    with tenant_scope(ada.id):
        thread = threading.Thread(target=lambda: tenants.append(current_tenant()))
        thread.start()
        thread.join()
    assert tenants == [None]
