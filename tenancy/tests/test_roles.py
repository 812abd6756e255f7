"""The SQL that creates the roles can be repeated and logged, and grants only what is needed."""

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

UNUSUAL = 'it\'s "odd"'


def test_role_names_come_from_the_urls(settings: Any) -> None:
    printed = StringIO()
    call_command("role_sql", stdout=printed)
    for role in (ROLES.owner, ROLES.app, ROLES.operator, ROLES.lookup):
        assert f'CREATE ROLE "{role}"' in printed.getvalue()
    assert f'\\connect "{DATABASE}"' in printed.getvalue()


def test_output_contains_verifiers_and_no_passwords(settings: Any) -> None:
    printed = StringIO()
    call_command("role_sql", stdout=printed)
    passwords = [settings.DATABASES[alias]["PASSWORD"] for alias in ("default", "operator", "owner")]
    assert [password for password in passwords if password in printed.getvalue()] == []
    assert printed.getvalue().count("PASSWORD 'SCRAM-SHA-256$4096:") == 3


def test_verifier_is_salted_and_accepts_only_ascii() -> None:
    assert scram_verifier("same") != scram_verifier("same")
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier("pässword")


def test_roles_have_no_special_attributes() -> None:
    statements = list(role_statements(ROLES, dict.fromkeys(ROLES.logins(), "x")))
    alterations = [statement for statement in statements if re.search(r" (NO)?LOGIN ", statement)]
    assert len(alterations) == 4
    for option in ("NOSUPERUSER", "NOBYPASSRLS", "NOCREATEDB", "NOCREATEROLE", "NOREPLICATION", "NOINHERIT"):
        assert all(option in statement for statement in alterations)
    (lookup,) = (statement for statement in alterations if "NOLOGIN" in statement)
    assert lookup.startswith(f'ALTER ROLE "{ROLES.lookup}"')
    grants = [statement for statement in statements if statement.startswith("GRANT")]
    assert grants == [f'GRANT "{ROLES.lookup}" TO "{ROLES.owner}"']


def test_special_characters_are_quoted() -> None:
    assert quoted(UNUSUAL) == '"it\'s ""odd"""'
    assert '"it\'s ""odd"""' in create_database_statement(UNUSUAL, Roles.of("x"))


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_migrate_restores_grants(superuser: psycopg.Connection) -> None:
    superuser.execute(f"REVOKE ALL ON django_session FROM {ROLES.operator}".encode())
    assert any("django_session" in finding for finding in table_findings("default"))
    call_command("migrate", verbosity=0)
    assert list(table_findings("default")) == []


def test_label_of_an_app_grants_on_all_its_tables(settings: Any) -> None:
    settings.TENANT_GRANTS = {"operator": {"auth": ["SELECT"]}, "app": {"auth.group": ["SELECT"]}}
    assert granted_tables() == {
        ("app", "django_migrations"): ["SELECT"],
        ("operator", "django_migrations"): ["SELECT"],
        ("operator", "auth_group"): ["SELECT"],
        ("operator", "auth_group_permissions"): ["SELECT"],
        ("operator", "auth_permission"): ["SELECT"],
        ("app", "auth_group"): ["SELECT"],
    }
