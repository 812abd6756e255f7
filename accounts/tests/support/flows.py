"""Steps that many tests share: signing up, reading emails, parallel calls, reading the database."""

import io
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from django.core import mail
from django.db import connections

from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD
from config.tests.support.client import API

Result = TypeVar("Result")
LINK = re.compile(r"(/account/[a-z-]+/([\w-]+)/([\w-]+)/)")


def sign_up(api: API, email: str, password: str = PASSWORD, **more: Any) -> Any:
    response = api.post("register", {"email": email, "password": password}, **more)
    assert response.status_code == 202, response.content
    return response


def link_in(message: mail.EmailMessage) -> tuple[str, str]:
    """`uid, token` of the link in a mail."""
    match = LINK.search(str(message.body))
    assert match, message.body
    return match[2], match[3]


def page_in(message: mail.EmailMessage) -> str:
    """The path of the verification page that an email links to."""
    uid, token = link_in(message)
    return f"/account/verify-email/{uid}/{token}/"


def confirm(api: API, link: tuple[str, str], password: str = PASSWORD) -> Any:
    return api.post("email/verify", {"uid": link[0], "token": link[1], "password": password})


def log_in(api: API, email: str, password: str = PASSWORD) -> Any:
    return api.post("login", {"email": email, "password": password})


def events(superuser: psycopg.Connection, *, of: Any = None) -> list[str]:
    """Types of all events (of one creator) except the signing key that a test run starts with."""
    rows = superuser.execute(
        "SELECT type FROM audit_logs WHERE type <> 'signing_key.rotated' "
        "AND (%(of)s::uuid IS NULL OR creator_id = %(of)s) ORDER BY id",
        {"of": of},
    )
    return [type_ for (type_,) in rows]


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """The service's formatted log."""
    (handler,) = (
        handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler
    )
    lines = io.StringIO()
    original = handler.setStream(lines)
    try:
        yield lines
    finally:
        handler.setStream(original)


def all_at_once(count: int, call: Callable[[int], Result]) -> list[Result]:
    """Run `call(0)` … `call(count - 1)` in threads that start at the same time; returns their results."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            barrier.wait(timeout=20)
            results[number] = call(number)
        except BaseException as error:  # noqa: BLE001  raised below
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise errors[0]
    return results


def wait_for_waiters(superuser: psycopg.Connection, count: int) -> None:
    """Wait until `count` connections to this database wait for a lock."""

    def waiting() -> bool:
        superuser.execute("SELECT pg_stat_clear_snapshot()")
        row = superuser.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        return row == (count,)

    assert wait_until(waiting, within=15)


def attempt(api: API, email: str, password: str) -> tuple[int, str]:
    response = api.post("login", {"email": email, "password": password})
    return response.status_code, response.json().get("code", "")


def age_used_tokens(superuser: psycopg.Connection, seconds: float) -> None:
    superuser.execute("UPDATE refresh_tokens SET used_at = used_at - make_interval(secs => %s)", [seconds])
