"""Models, migrations and database say the same; every migration can be taken back."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command

from accounts import permissions
from config.tests.support.plugin import ROLES, server
from tenancy.checks.catalog import surrounding_findings
from tenancy.checks.schema import role_findings, table_findings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
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
    """All that stands in the schema: tables, functions, policies."""
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
    assert [*role_findings("default"), *table_findings("default"), *surrounding_findings("default")] == []


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


def test_events_from_before_there_were_seals_wait_for_theirs(fresh: psycopg.Connection) -> None:
    assert manage("migrate", "audit", "0002", "--verbosity=0").stderr == ""
    fresh.execute(
        "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail) "
        "SELECT gen_random_uuid(), gen_random_uuid(), now(), 'x', '', '{}' FROM generate_series(1, 5)"
    )
    assert manage("migrate", "--verbosity=0").stderr == ""
    assert "5 rows are not sealed yet" in manage("verify_audit").stdout


def test_links_and_notices_from_before_they_had_an_address_get_that_of_their_account(
    fresh: psycopg.Connection,
) -> None:
    assert manage("migrate", "accounts", "0011", "--verbosity=0").stderr == ""
    fresh.execute(
        """
        INSERT INTO creators (id, password, is_superuser, email, holds_email, display_name, is_active, is_staff,
                              created_at)
        SELECT gen_random_uuid(), '', false, name || '@example.com', true, '', true, false, now()
        FROM unnest(ARRAY['ada', 'bob']) name;
        INSERT INTO password_reset_tokens (id, creator_id, digest, created_at, expires_at)
        SELECT gen_random_uuid(), id, 'r', now(), now() + interval '1 hour' FROM creators;
        INSERT INTO email_verification_tokens (id, creator_id, digest, created_at, expires_at, attempts)
        SELECT gen_random_uuid(), id, 'v', now(), now() + interval '1 hour', 0 FROM creators;
        INSERT INTO security_notices (id, creator_id, kind, at, device)
        SELECT gen_random_uuid(), id, 'new_device', now(), '' FROM creators;
        INSERT INTO email_changes (id, creator_id, old_email, new_email, confirm_digest, undo_digest, created_at,
                                   expires_at, undo_expires_at)
        SELECT gen_random_uuid(), id, email, 'new@example.com', 'c', digest::bytea, now() + day * interval '1 day',
               now(), now() + interval '7 days'
        FROM creators, (VALUES (1, 'u'), (2, NULL)) change (day, digest);
        """
    )
    assert manage("migrate", "--verbosity=0").stderr == ""
    for table in ("password_reset_tokens", "email_verification_tokens", "security_notices"):
        rows = fresh.execute(
            f"SELECT count(*) FROM {table} t JOIN creators c ON c.id = t.creator_id AND c.email = t.email".encode()
        )
        assert rows.fetchone() == (2,), table
    numbers = fresh.execute("SELECT number FROM email_changes ORDER BY creator_id, created_at").fetchall()
    assert numbers == [(1,), (2,)] * 2
    links = fresh.execute(
        "SELECT purpose, digest, count(*) FROM email_change_tokens t JOIN creators c "
        "ON c.id = t.creator_id AND c.email = t.email GROUP BY 1, 2 ORDER BY 1"
    ).fetchall()
    assert links == [("confirm", b"c", 4), ("undo", b"u", 2)]


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_a_deployment_has_nothing_to_warn_of() -> None:
    usual = {name: os.environ[name] for name in os.environ if name.endswith("DATABASE_URL")}
    usual["PUBLIC_URL"] = "https://accounts.example.com"
    done = manage("check", "--deploy", "--database", "default", **usual)
    found = re.findall(r"\((\w+\.[CEW]\d+)\)", done.stderr + done.stdout)
    assert [code for code in found if not code.startswith("drf_spectacular.")] == [], done.stderr


def test_a_database_without_its_tables_is_told(fresh: psycopg.Connection) -> None:
    done = manage("check", "--database", "default")
    assert done.returncode == 1
    assert "(tenancy.E003) table creators does not exist" in done.stderr


# address, holds it? → what it is afterwards; ID stands for the row's id
ADDRESSES_FROM_BEFORE = [
    ("ada@example.com", True, "ada@example.com"),
    ("ada@example.com", False, "ada@example.com"),
    ("zoe@bücher.example", True, "zoe@xn--bcher-kva.example"),
    ("zoe@bücher.example", False, "zoe@xn--bcher-kva.example"),
    ("eve@xn--bcher-kva.example", True, "eve@xn--bcher-kva.example"),
    ("eve@bücher.example", True, "ID@address.invalid"),  # two accounts at one mailbox: the first one keeps it
    ("max@straße.example", True, "max@strasse.example"),  # where its mails went
    ("bob@exam\u200bple.com", False, "bob@example.com"),
    ("Ida@Example.com", True, "ida@example.com"),
    ("=?utf-8?q?bob?=@example.com", True, "ID@address.invalid"),
    ('"a b"@example.com', True, "ID@address.invalid"),
    ("\u0131da@example.com", True, "ID@address.invalid"),
    ("admin", True, "ID@address.invalid"),
    ("", False, "ID@address.invalid"),
    (f"a@{'ü' * 100}.example", False, "ID@address.invalid"),
]


def test_addresses_from_before_are_where_mail_went(fresh: psycopg.Connection) -> None:
    assert manage("migrate", "accounts", "0011", "--verbosity=0").stderr == ""
    for email, holds_email, _ in ADDRESSES_FROM_BEFORE:
        fresh.execute(
            "WITH one AS (INSERT INTO creators (id, email, password, holds_email, display_name, is_active, is_staff,"
            "  is_superuser, created_at) VALUES (gen_random_uuid(), %(email)s, 'x', %(holds)s, '', true, false, false,"
            "  clock_timestamp()) RETURNING id, created_at) "
            "INSERT INTO email_changes (id, creator_id, old_email, new_email, created_at, expires_at, undo_expires_at) "
            "SELECT gen_random_uuid(), id, %(email)s, %(email)s, created_at, now(), now() FROM one",
            {"email": email, "holds": holds_email},
        )
    assert manage("migrate", "--verbosity=0").stderr == ""
    rows = fresh.execute(
        "SELECT replace(id::text, '-', ''), email FROM creators ORDER BY created_at"
    ).fetchall()
    expected = [email for _, _, email in ADDRESSES_FROM_BEFORE]
    assert [email.replace(row_id, "ID") for row_id, email in rows] == expected
    changes = fresh.execute("SELECT old_email, new_email FROM email_changes ORDER BY created_at").fetchall()
    assert {old == new for old, new in changes} == {True}
    assert ("zoe@xn--bcher-kva.example", "zoe@xn--bcher-kva.example") in changes
    assert ("admin", "admin") in changes
    for table in ("creators", "email_changes"):
        query = "SELECT relforcerowsecurity FROM pg_class WHERE relname = %s"
        assert fresh.execute(query, [table]).fetchone() == (True,)
    assert manage("check_isolation").returncode == 0
