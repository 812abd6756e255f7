"""Models, migrations and database match; every migration can be reversed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader

from accounts import permissions
from config.tests.support.environment import ROLES, server
from tenancy.checks.catalog import catalog_findings
from tenancy.checks.sample_rows import adapted, sample_row
from tenancy.checks.schema import role_findings, table_findings
from tenancy.constraints import tenant_models
from tenancy.operations import SQLFunction

pytestmark = [pytest.mark.slow, pytest.mark.no_database]
ROOT = Path(__file__).resolve().parents[2]
TENANT = uuid4()
FRESH = f"auth_fresh_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


@pytest.fixture
def fresh() -> Iterator[psycopg.Connection]:
    """The superuser in a database that nothing was migrated in."""
    with psycopg.connect(server.superuser_url(), autocommit=True) as outside:
        outside.execute(f"DROP DATABASE IF EXISTS {FRESH} WITH (FORCE)".encode())
        server.ensure_database(FRESH, ROLES)
        with psycopg.connect(server.superuser_url(FRESH), autocommit=True) as inside:
            yield inside
        outside.execute(f"DROP DATABASE {FRESH} WITH (FORCE)".encode())


def manage(*arguments: str, **environment: str) -> Any:
    urls = {
        "DATABASE_URL": server.url(ROLES.app, FRESH),
        "OPERATOR_DATABASE_URL": server.url(ROLES.operator, FRESH),
        "OWNER_DATABASE_URL": server.url(ROLES.owner, FRESH),
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", *arguments],
        cwd=ROOT, env=os.environ | urls | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def ours(database: psycopg.Connection) -> dict[str, list[str]]:
    """All objects of the schema: tables, functions, policies."""
    queries = {
        "tables": "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                  "AND relkind IN ('r', 'p', 'v', 'm')",
        "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "policies": "SELECT tablename || '.' || policyname FROM pg_policies",
    }  # fmt: skip
    return {
        kind: sorted(name for (name,) in database.execute(query.encode())) for kind, query in queries.items()
    }


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_every_model_has_its_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_database_is_as_declared() -> None:
    assert [*role_findings("default"), *table_findings("default"), *catalog_findings("default")] == []


def test_migrations_go_up_down_and_up_again(fresh: psycopg.Connection) -> None:
    assert manage("migrate", "--verbosity=0").stderr == ""
    up = ours(fresh)
    assert "creators" in up["tables"]
    assert "creators.creators_tenant" in up["policies"]
    for app in ("accounts", "audit"):
        done = manage("migrate", app, "zero", "--verbosity=0")
        assert done.returncode == 0, done.stderr
    down = ours(fresh)
    assert down["functions"] == down["policies"] == []
    assert [
        table
        for table in down["tables"]
        if table.startswith(("creator", "audit", "refresh", "authenticators", "recovery"))
    ] == []
    assert manage("migrate", "--verbosity=0").stderr == ""
    assert ours(fresh) == up
    rights = (
        "SELECT name, count(*) FROM auth_group g JOIN auth_group_permissions ON group_id = g.id GROUP BY 1"
    )
    assert dict(fresh.execute(rights).fetchall()) == {
        name: len(found) for name, found in permissions.ROLES.items()
    }
    assert manage("check_isolation").returncode == 0


FILL_AS: dict[str, dict[str, Any]] = {
    "creators": {"email": "ada@example.com"},
    "lockout_limits": {"duration": timedelta(minutes=30)},
}


def fill(database: psycopg.Connection) -> dict[str, list[Any]]:
    """A row in every table of ours, inserted by the superuser: table → its rows."""
    models = [
        *tenant_models(apps),
        *apps.get_app_config("accounts").get_models(),
        *apps.get_app_config("audit").get_models(),
    ]
    rows: dict[Any, dict[str, Any]] = {}
    for model in dict.fromkeys(model for model in models if not model._meta.proxy):
        table = model._meta.db_table
        tenant = TENANT if model in tenant_models(apps) else None
        row = sample_row(model, tenant, rows) | FILL_AS.get(table, {})
        rows[model] = row
        columns, placeholders = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
        values = adapted(model, row, connection)
        database.execute(f"INSERT INTO {table} ({columns}) VALUES ({placeholders})".encode(), values)
    return contents(database, [model._meta.db_table for model in rows])


def contents(database: psycopg.Connection, tables: list[str]) -> dict[str, list[Any]]:
    return {
        table: [row for (row,) in database.execute(f"SELECT to_jsonb(t) FROM {table} t".encode())]
        for table in tables
    }


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_later_migrations_keep_every_row(fresh: psycopg.Connection) -> None:
    for app in ("audit", "accounts"):
        assert manage("migrate", app, "0001", "--verbosity=0").returncode == 0
    fresh.execute("CREATE TABLE audit_logs_early PARTITION OF audit_logs DEFAULT")
    before = fill(fresh)
    assert all(before.values())
    fresh.execute("ALTER TABLE audit_logs DETACH PARTITION audit_logs_early")
    assert manage("migrate", "--verbosity=0").stderr == ""
    fresh.execute(
        "ALTER TABLE audit_logs DISABLE TRIGGER USER; INSERT INTO audit_logs SELECT * FROM audit_logs_early"
    )
    assert contents(fresh, list(before)) == before


def test_a_database_with_another_history_is_refused_in_one_line(fresh: psycopg.Connection) -> None:
    assert manage("migrate", "--verbosity=0").stderr == ""
    newer = "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999_newer', now())"
    fresh.execute(newer)
    assert manage("migrate", "--verbosity=0").returncode == 0  # the release before a newer one
    fresh.execute("DELETE FROM django_migrations WHERE name = '0002_functions' AND app = 'accounts'")
    done = manage("migrate", "--verbosity=0")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "CommandError: the database was made by another version, which has accounts.0999_newer: "
        "it can't be upgraded"
    )


def operations() -> Iterator[tuple[str, Any]]:
    """Name of the migration → each of its operations, of our apps, in order."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app in {"accounts", "audit"}:
            yield from ((f"{app}.{name}", operation) for operation in migration.operations)


def test_later_indexes_are_built_concurrently() -> None:
    """AddIndex locks the table against writes until the index is built."""
    locking = [name for name, operation in operations() if type(operation) is migrations.AddIndex]
    assert locking == []


def test_versions_of_a_function_follow_one_another_and_earlier_texts_are_kept() -> None:
    versions: dict[tuple[str, str], list[int]] = {}
    for _, operation in operations():
        if isinstance(operation, SQLFunction):
            versions.setdefault((operation.app, operation.name), []).append(operation.version)
    assert versions
    for (app, name), found in versions.items():
        assert found == list(range(1, len(found) + 1)), name
        history = {file.name for file in (ROOT / app / "sql" / "history").glob(f"{name}.v*.sql")}
        assert history == {f"{name}.v{version}.sql" for version in found[:-1]}


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_deployment_has_nothing_to_warn_of() -> None:
    usual = {name: os.environ[name] for name in os.environ if name.endswith("DATABASE_URL")}
    usual["PUBLIC_URL"] = "https://accounts.example.com"
    done = manage("check", "--deploy", "--database", "default", **usual)
    found = re.findall(r"\((\w+\.[CEW]\d+)\)", done.stderr + done.stdout)
    assert [code for code in found if not code.startswith("drf_spectacular.")] == [], done.stderr


def test_a_database_without_its_tables_is_reported(fresh: psycopg.Connection) -> None:
    done = manage("check", "--database", "default")
    assert done.returncode == 1
    assert "(tenancy.E003) table creators does not exist" in done.stderr
