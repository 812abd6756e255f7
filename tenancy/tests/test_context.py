"""Who the tenant is: for one transaction, never longer, and never somebody else inside it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

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
    """What PostgreSQL shows; past the guard, which would stop the question."""
    connections[alias].ensure_connection()
    found = connections[alias].connection.execute("SELECT email FROM creators ORDER BY 1")
    return [email for (email,) in found]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert current_tenant() is None
    assert current_alias() == "default"
    assert setting() in (None, "")
    assert not connections["default"].in_atomic_block
    assert visible() == []


def test_scope_shows_its_tenant_and_nobody_else(ada: Person, bob: Person) -> None:
    for person in (ada, bob):
        with tenant_scope(person.id):
            assert current_tenant() == person.id
            assert [one.email for one in Creator.objects.all()] == [person.email]
            assert setting() == str(person.id)


def test_scopes_of_one_tenant_nest_in_one_transaction(ada: Person) -> None:
    with tenant_scope(ada.id):
        with tenant_scope(ada.id):
            Creator.objects.update(display_name="Ada L.")
        assert visible() == [ada.email]
        transaction.set_rollback(True)
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_scope_of_another_tenant_is_refused_inside(ada: Person, bob: Person) -> None:
    with tenant_scope(ada.id):
        with pytest.raises(TenantMismatchError), tenant_scope(bob.id):
            pytest.fail("entered")
        assert visible() == [ada.email]
        assert Creator.objects.update(display_name="still writing") == 1


def test_nothing_outlives_an_exception(ada: Person) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            Creator.objects.update(display_name="lost")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert setting() == ""  # what a pooled connection reads from then on, and NULLIF takes for none
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_nothing_outlives_a_failed_statement(ada: Person) -> None:
    with pytest.raises(IntegrityError), tenant_scope(ada.id):
        Creator.objects.create(id=ada.id, email="twice@example.com")
    assert setting() == ""


def test_scope_inside_a_longer_transaction_ends_with_itself(ada: Person, bob: Person) -> None:
    with transaction.atomic():
        with tenant_scope(ada.id):
            assert visible() == [ada.email]
        assert setting() == ""
        assert visible() == []
        with tenant_scope(bob.id):
            assert visible() == [bob.email]


def test_failed_scope_inside_a_longer_transaction_takes_it_along(ada: Person) -> None:
    def fail() -> None:
        with tenant_scope(ada.id):
            raise ZeroDivisionError

    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            fail()
        assert transaction.get_rollback()


def test_scope_marked_for_rollback_ends_quietly(ada: Person) -> None:
    with transaction.atomic(), tenant_scope(ada.id):
        Creator.objects.update(display_name="lost")
        transaction.set_rollback(True)
    with tenant_scope(ada.id):
        assert Creator.objects.get().display_name == "Ada"


def test_savepoint_rolled_back_keeps_the_tenant(ada: Person) -> None:
    with tenant_scope(ada.id):
        with pytest.raises(IntegrityError), transaction.atomic():
            Creator.objects.create(id=ada.id, email="twice@example.com")
        assert visible() == [ada.email]


def test_lazy_queryset_shows_nothing_after_the_scope(ada: Person) -> None:
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
def test_guard_stops_a_tenant_query_outside_any_scope(statement: str) -> None:
    with connections["default"].cursor() as cursor, pytest.raises(TenantScopeRequiredError):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1 AS creators_count", "SELECT * FROM django_migrations LIMIT 0", "SELECT 'a' AS my_sessions"],
)
def test_guard_lets_other_queries_pass(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


def test_guard_does_not_take_a_value_for_a_table(ada: Person) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT %s", ["DELETE FROM creators"])
        assert cursor.fetchone() == ("DELETE FROM creators",)


def test_scope_of_the_operator_opens_nothing_to_the_app(ada: Person) -> None:
    with using_alias(OPERATOR), tenant_scope(ada.id):
        with connections["default"].cursor() as cursor, pytest.raises(TenantScopeRequiredError):
            cursor.execute("SELECT * FROM creators")
        assert visible("default") == []


# --- aliases ----------------------------------------------------------------------------------


def test_alias_is_that_of_the_context_and_the_router_follows_it(ada: Person, bob: Person) -> None:
    assert Creator.objects.all().db == "default"
    with using_alias(OPERATOR):
        assert current_alias() == OPERATOR
        assert Creator.objects.all().db == OPERATOR
        assert {one.email for one in Creator.objects.all()} == {ada.email, bob.email}
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
            pytest.fail("entered")


def test_only_the_owner_migrates_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    router = routers.TenancyRouter()
    assert [router.allow_migrate(alias, "x") for alias in ("owner", "default", OPERATOR)] == [
        True,
        False,
        False,
    ]
    monkeypatch.setattr(routers, "OWNER", "somebody who has no URL")
    assert router.allow_migrate("default", "x")


def test_threads_do_not_share_a_scope(ada: Person) -> None:
    import threading

    found: list[UUID | None] = [uuid4()]
    with tenant_scope(ada.id):
        thread = threading.Thread(target=lambda: found.append(current_tenant()))
        thread.start()
        thread.join()
    assert found[1] is None
