"""Steps that many stories share: signing up, reading mail, racing, and looking behind the walls."""

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
    found = LINK.search(str(message.body))
    assert found, message.body
    return found[2], found[3]


def page_in(message: mail.EmailMessage) -> str:
    """The path of the page that a mail links to."""
    uid, token = link_in(message)
    return f"/account/verify-email/{uid}/{token}/"


def confirm(api: API, link: tuple[str, str], password: str = PASSWORD) -> Any:
    return api.post("email/verify", {"uid": link[0], "token": link[1], "password": password})


def log_in(api: API, email: str, password: str = PASSWORD) -> Any:
    return api.post("login", {"email": email, "password": password})


def events(superuser: psycopg.Connection, *, of: Any = None) -> list[str]:
    """Types of all that was recorded (of one creator), but for the key that a test run begins with."""
    rows = superuser.execute(
        "SELECT type FROM audit_logs WHERE type <> 'signing_key.rotated' "
        "AND (%(of)s::uuid IS NULL OR creator_id = %(of)s) ORDER BY id",
        {"of": of},
    )
    return [type_ for (type_,) in rows]


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """What the service writes to its log, as its operator gets to see it."""
    (handler,) = (one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler)
    lines = io.StringIO()
    before = handler.setStream(lines)
    try:
        yield lines
    finally:
        handler.setStream(before)


def all_at_once(count: int, act: Callable[[int], Result]) -> list[Result]:
    """`act(0)` … `act(count - 1)`, each in a thread of its own, let go at the same moment."""
    gate = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            gate.wait(timeout=20)
            results[number] = act(number)
        except BaseException as error:  # noqa: BLE001  the caller's assertion will show it
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    failed = [result for result in results if isinstance(result, BaseException)]
    if failed:
        raise failed[0]
    return results


def wait_for_waiters(superuser: psycopg.Connection, count: int) -> None:
    """Return when so many connections to this database stand before a lock."""

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


def age_spent(superuser: psycopg.Connection, seconds: float) -> None:
    superuser.execute("UPDATE refresh_tokens SET used_at = used_at - make_interval(secs => %s)", [seconds])
