"""Fixtures and hooks for the tests of all apps.

`config/tests/support/environment.py` starts their PostgreSQL; `-p` in pytest.ini loads it before pytest-django
reads the settings. Tests run as the app role, migrations as the owner.
"""

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import TransactionTestCase
from django.utils import translation

from accounts.services import signing_keys
from config.tests.support.accounts import Person, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.database import superuser_of, wipe
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, using_alias
from tenancy.guard import install_guard

TransactionTestCase._fixture_teardown = wipe  # type: ignore[attr-defined]

# for this process and for those that tests start; the tests of the rate limits set their own
settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "1000000/m")
os.environ.update({f"RATE_LIMIT_{scope.upper()}": rate for scope, rate in settings.RATE_LIMITS.items()})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Every test has the database and real transactions, unless it is marked `no_database`.

    Slow modules run first; otherwise one xdist worker would run a slow one last while the others idle.
    """
    for item in items:
        if not item.get_closest_marker("no_database") and not item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))
    yield
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """A new database, migrated as the owner. Tests reach it as the app role."""
    with superuser_of("postgres") as connection:
        # the roles belong to the cluster, which all xdist workers share
        connection.execute("SELECT pg_advisory_lock(1)")
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


@pytest.fixture(autouse=True)
def reset_language() -> None:
    """A request in German leaves its language active in the thread."""
    translation.deactivate()


@pytest.fixture
def ada(transactional_db: None) -> Person:
    return sign_in(make_creator("ada@example.com", display_name="Ada"))


@pytest.fixture
def bob(transactional_db: None) -> Person:
    return sign_in(make_creator("bob@example.com", display_name="Bob"))


@pytest.fixture
def api(transactional_db: None) -> API:
    return API(raise_request_exception=False)


@pytest.fixture
def superuser(transactional_db: None) -> Iterator[psycopg.Connection]:
    """A connection that bypasses RLS, to read what was written."""
    with superuser_of(DATABASE) as connection:
        yield connection


@pytest.fixture
def run_jobs(transactional_db: None) -> Any:
    """Run the queued jobs; returns how many there were."""
    from accounts.jobs.worker import Worker

    def run() -> int:
        with using_alias(OPERATOR):
            worker, done = Worker("test"), 0
            while worker.run_one():
                done += 1
            return done

    return run
