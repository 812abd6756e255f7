"""Fixtures for every room: the database, and the cast (Ada, Bob; Mallory needs no account)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client, TransactionTestCase
from django.utils import timezone, translation

from accounts.models import Creator
from accounts.ratelimits import cache
from accounts.services import lockout, password_hashing, sessions, signing_keys
from accounts.tokens.jwt import TokenPair
from audit.requests.client_info import ClientInfo
from tenancy.context import OPERATOR, tenant_scope, using_alias
from tenancy.guard import install_guard
from tenancy.postgresql.base import DatabaseWrapper

from .plugin import DATABASE, ROLES, server

PASSWORD = "a lovely sentence of Ada's"
KEPT = {"django_migrations", "django_content_type", "auth_permission", "signing_keys"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Files of real processes come first: at the end no worker has a long one while the others have none."""
    yield
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """A database made anew, migrated as the owner; tests reach it as the app role."""
    with superuser_of("postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(1)")  # roles are the cluster's, and workers many
        connection.execute(f'DROP DATABASE IF EXISTS "{DATABASE}" WITH (FORCE)'.encode())
        server.ensure_database(DATABASE, ROLES)
    settings.TENANT_GUARD = True
    install_guard()
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        with using_alias(OPERATOR):
            signing_keys.ensure_signing_key()
    yield
    with django_db_blocker.unblock():
        connections.close_all()


def superuser_of(database: str) -> psycopg.Connection:
    return psycopg.connect(server.superuser_url(database), autocommit=True)


def _wipe(self: Any) -> None:
    """Instead of Django's flush, which the app role rightly can't do."""
    with superuser_of(DATABASE) as connection:
        connection.execute("SET client_min_messages = error")
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )
        tables = [name for (name,) in found if name not in KEPT]
        guarded = connection.execute(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE '%_no_truncate'"
        ).fetchall()
        with connection.transaction():
            for table, trigger in guarded:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
            connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE".encode())
            for table, trigger in guarded:
                connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())
    cache._met.clear()  # this process remembers some of the rows


TransactionTestCase._fixture_teardown = _wipe


@dataclass
class Person:
    """One of the cast: an account, and its tokens once signed in."""

    id: UUID
    email: str
    password: str = PASSWORD
    tokens: TokenPair | None = None

    @property
    def access(self) -> str:
        assert self.tokens
        return self.tokens.access

    @property
    def refresh(self) -> str:
        assert self.tokens
        return self.tokens.refresh


def make_creator(email: str, *, password: str = PASSWORD, **fields: Any) -> Person:
    """A verified creator, made as the operator."""
    fields = {"holds_email": True, "email_verified_at": timezone.now(), "display_name": "", **fields}
    encoded = password if password.count("$") > 2 else password_hashing.hash_password(password)
    with using_alias(OPERATOR):
        creator = Creator.objects.create(email=email, password=encoded, **fields)
    return Person(creator.pk, email, password)


def sign_in(person: Person) -> Person:
    """A session, made without the sign-in's door."""
    now = timezone.now()
    new = sessions.new_session(creator_id=person.id, client=ClientInfo(), now=now)
    with tenant_scope(person.id):
        start = sessions.start_session(new)
    assert start
    person.tokens = sessions.token_pair(start.token, now=now)
    return person


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is asked of the database meanwhile, by Django's cursors and by the driver alone."""
    seen: list[str] = []

    def execute(run: Any, sql: Any, *more: Any) -> Any:
        seen.append(" ".join(str(sql).split()))
        return run(sql, *more)

    def call(self: DatabaseWrapper, sql: str, parameters: Any) -> Any:
        seen.append(" ".join(sql.split()))
        return really(self, sql, parameters)

    really = DatabaseWrapper.call
    with connection.execute_wrapper(execute), pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrapper, "call", call)
        yield seen


@pytest.fixture(autouse=True)
def no_language_of_another_test() -> None:
    """A request in German leaves its thread speaking German; the next request chooses for itself."""
    translation.deactivate()


def no_lockout(settings: Any) -> None:
    """For tests that send wrong passwords by the hundred."""
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 1_000_000
    with using_alias(OPERATOR):
        lockout.keep_limits()


@pytest.fixture
def ada(transactional_db: None) -> Person:
    return sign_in(make_creator("ada@example.com", display_name="Ada"))


@pytest.fixture
def bob(transactional_db: None) -> Person:
    return sign_in(make_creator("bob@example.com", display_name="Bob"))


class API(Client):
    """A JSON client: `api.post("login", {...})`, with `token=` for a bearer."""

    def call(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> Any:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        if not path.startswith("/"):
            path = f"/api/v1/auth/{path}"
        return self.generic(
            method,
            path,
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers=given | headers,
        )

    def post(self, path: str, body: Any = None, **more: Any) -> Any:  # type: ignore[override]
        return self.call("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> Any:  # type: ignore[override]
        return self.call("GET", path, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> Any:  # type: ignore[override]
        return self.call("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> Any:  # type: ignore[override]
        return self.call("DELETE", path, **more)


@pytest.fixture
def api(transactional_db: None) -> API:
    return API(raise_request_exception=False)


@pytest.fixture
def superuser(transactional_db: None) -> Iterator[psycopg.Connection]:
    """Past every wall, to look at what is there."""
    with superuser_of(DATABASE) as connection:
        yield connection


@pytest.fixture
def run_jobs(transactional_db: None) -> Any:
    """Let the worker empty the queue; returns how many jobs it did."""
    from accounts.jobs.worker import Worker

    def run() -> int:
        with using_alias(OPERATOR):
            worker, done = Worker("test"), 0
            while worker.run_one():
                done += 1
            return done

    return run
