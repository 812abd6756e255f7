"""Typed calls of database functions, and the files that define them."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from accounts import sql as accounts_sql
from audit import sql as audit_sql
from config.tests.support.accounts import Person
from tenancy.context import tenant_scope
from tenancy.exceptions import TenantMismatchError

MODULES = (accounts_sql, audit_sql)
FOLDERS = [Path(str(module.__file__)).parent for module in MODULES]
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.sql"))]
DECLARED: dict[str, Callable[..., Any]] = {
    name: function
    for module in MODULES
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__
}


def setting() -> Any:
    (value,) = connection.fetch_rows("SELECT current_setting('app.current_creator_id', true)", {})[0]
    return value


def identify(person: Person) -> None:
    accounts_sql.identify_caller(creator=person.id, session=person.id, token=person.id, idle=None)


def test_call_resets_the_tenant_that_the_function_sets(ada: Person) -> None:
    identify(ada)
    assert setting() == ""
    with transaction.atomic():
        identify(ada)
        assert setting() == ""


def test_call_inside_a_scope_keeps_its_tenant(ada: Person, bob: Person) -> None:
    with tenant_scope(ada.id):
        identify(ada)
        assert setting() == str(ada.id)
        with pytest.raises(TenantMismatchError):
            identify(bob)


def test_function_that_chooses_the_tenant_fails_in_a_scope(ada: Person) -> None:
    with tenant_scope(ada.id), pytest.raises(TenantMismatchError):
        accounts_sql.find_account(address=ada.email)


def test_results_are_scalars_rows_lists_and_none(ada: Person) -> None:
    assert accounts_sql.find_creator(address=ada.email) == ada.id
    assert accounts_sql.find_creator(address="nobody@example.com") is None
    account = accounts_sql.find_account(address=ada.email)
    assert account is not None
    assert account.id == ada.id
    assert accounts_sql.find_account(address="nobody@example.com") is None
    with tenant_scope(ada.id):
        assert accounts_sql.events_at_own_address(after=ada.id, max_rows=10) == []


@pytest.mark.parametrize("name", DECLARED)
def test_declaration_has_the_parameters_of_the_function(name: str, superuser: psycopg.Connection) -> None:
    row = superuser.execute(
        "SELECT proargnames[1:pronargs] FROM pg_proc WHERE proname = %s AND pronamespace = 'public'::regnamespace",
        [name],
    ).fetchone()
    assert row is not None
    assert row[0] == list(inspect.signature(DECLARED[name]).parameters)


@pytest.fixture
def rolled_back(superuser: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with superuser.transaction(force_rollback=True):
        yield superuser


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_function_in_the_database_equals_its_file(file: Path, rolled_back: psycopg.Connection) -> None:
    definition = "SELECT pg_get_functiondef(to_regproc(%s))"
    migrated = rolled_back.execute(definition, [file.stem]).fetchone()
    rolled_back.execute(file.read_text().encode())
    assert rolled_back.execute(definition, [file.stem]).fetchone() == migrated


def test_every_function_in_the_database_has_a_file(superuser: psycopg.Connection) -> None:
    query = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert sorted(name for (name,) in superuser.execute(query)) == sorted(file.stem for file in FILES)
