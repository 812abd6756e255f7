"""The SQL that makes the roles: harmless to repeat, safe to log, and no more than what is needed."""

import re
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command

from config.tests.support.environment import DATABASE, ROLES
from tenancy.checks.schema import table_findings
from tenancy.grants import granted_tables
from tenancy.roles import Roles, create_database_statement, quoted, role_statements, scram_verifier

pytestmark = pytest.mark.no_database

ODD = 'it\'s "odd"'


def test_names_are_those_of_the_urls(settings: Any) -> None:
    printed = StringIO()
    call_command("role_sql", stdout=printed)
    for role in (ROLES.owner, ROLES.app, ROLES.operator, ROLES.lookup):
        assert f'CREATE ROLE "{role}"' in printed.getvalue()
    assert f'\\connect "{DATABASE}"' in printed.getvalue()


def test_passwords_leave_as_verifiers_only(settings: Any) -> None:
    printed = StringIO()
    call_command("role_sql", stdout=printed)
    passwords = [settings.DATABASES[alias]["PASSWORD"] for alias in ("default", "operator", "owner")]
    assert [password for password in passwords if password in printed.getvalue()] == []
    assert printed.getvalue().count("PASSWORD 'SCRAM-SHA-256$4096:") == 3


def test_verifier_is_salted_and_takes_ascii_only() -> None:
    assert scram_verifier("same") != scram_verifier("same")
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier("pässword")


def test_no_role_is_more_than_it_must_be() -> None:
    statements = list(role_statements(ROLES, dict.fromkeys(ROLES.logins(), "x")))
    powers = [one for one in statements if re.search(r" (NO)?LOGIN ", one)]
    assert len(powers) == 4
    for words in ("NOSUPERUSER", "NOBYPASSRLS", "NOCREATEDB", "NOCREATEROLE", "NOREPLICATION", "NOINHERIT"):
        assert all(words in one for one in powers)
    assert next(one for one in powers if "NOLOGIN" in one).startswith(f'ALTER ROLE "{ROLES.lookup}"')
    granted = [one for one in statements if one.startswith("GRANT")]
    assert granted == [f'GRANT "{ROLES.lookup}" TO "{ROLES.owner}"']


def test_odd_names_are_quoted() -> None:
    assert quoted(ODD) == '"it\'s ""odd"""'
    assert '"it\'s ""odd"""' in create_database_statement(ODD, Roles.of("x"))


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_grants_are_put_back_after_each_migrate(superuser: psycopg.Connection) -> None:
    superuser.execute(f"REVOKE ALL ON django_session FROM {ROLES.operator}".encode())
    assert any("django_session" in finding for finding in table_findings("default"))
    call_command("migrate", verbosity=0)
    assert list(table_findings("default")) == []


def test_label_of_an_app_means_all_its_tables(settings: Any) -> None:
    settings.TENANT_GRANTS = {"operator": {"auth": ["SELECT"]}, "app": {"auth.group": ["SELECT"]}}
    assert granted_tables() == {
        ("app", "django_migrations"): ["SELECT"],
        ("operator", "django_migrations"): ["SELECT"],
        ("operator", "auth_group"): ["SELECT"],
        ("operator", "auth_group_permissions"): ["SELECT"],
        ("operator", "auth_permission"): ["SELECT"],
        ("app", "auth_group"): ["SELECT"],
    }
