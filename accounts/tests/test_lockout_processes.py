"""The limit holds over several worker processes, and a killed one locks no account."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.tests.support.flows import all_at_once
from accounts.tests.support.lockout_bursts import (
    assert_lockout_after_five_guesses,
    assert_right_passwords_lock_no_account,
    hashes_computed,
    marks,
)
from config.tests.support.accounts import PASSWORD, make_creator
from config.tests.support.live_server import LiveServer, run_server

pytestmark = pytest.mark.slow

__all__ = ["marks"]


@pytest.fixture(scope="module")
def served(django_db_setup: None, marks: Path) -> Iterator[LiveServer]:
    counting = {
        "DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings",
        "HASH_MARKS": str(marks),
        "HASH_SECONDS": "0.1",
    }
    with run_server(marks.parent, workers=4, **counting) as service:
        yield service


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_of_200_parallel_guesses_five_are_verified(served: LiveServer, marks: Path, known: bool) -> None:
    assert_lockout_after_five_guesses(served, marks, "burst@example.com", known=known)


def test_concurrent_right_passwords_lock_no_account(served: LiveServer) -> None:
    assert_right_passwords_lock_no_account(served)


def test_killed_processes_lock_no_account(served: LiveServer, marks: Path, superuser: Any) -> None:
    make_creator("ada@example.com")
    before = hashes_computed(marks)
    workers = served.workers()
    assert len(workers) == 4

    def guess(number: int) -> bool:
        if number == 5:  # once all five are being verified, every process is killed
            while hashes_computed(marks) - before < 5:
                time.sleep(0.005)
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            return True
        try:
            served.post("login", {"email": "ada@example.com", "password": "wrong"}, ip=f"198.51.100.{number}")
        except OSError:
            return True
        return False

    killed = all_at_once(6, guess)
    assert sum(killed) > 1, "no process was killed between reservation and result"
    (left,) = superuser.execute("SELECT count(*) FROM login_reservations").fetchone()
    assert left > 0
    superuser.execute("UPDATE login_reservations SET expires_at = now()")  # as 20 seconds would
    deadline = time.monotonic() + 30
    while (status := _sign_in(served)) != 200:
        assert status in {0, 429, 503}
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _sign_in(served: LiveServer) -> int:
    try:
        reply = served.post("login", {"email": "ada@example.com", "password": PASSWORD}, ip="192.0.2.9")
    except OSError:
        return 0
    assert reply.code != "account_locked"
    return reply.status
