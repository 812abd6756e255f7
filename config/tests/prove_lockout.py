"""`make prove`: of 200 concurrent guesses only five are verified, in each of 20 rounds with four processes.

The service hashes at full cost, and all 200 requests are sent at the same time.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.tests.support import lockout_bursts
from accounts.tests.support.flows import all_at_once
from accounts.tests.support.lockout_bursts import marks
from config.tests.support.accounts import PASSWORD, make_creator
from config.tests.support.live_server import FULL_COST, LiveServer, run_server
from config.tests.support.proofs import whole

__all__ = ["marks"]
ROUNDS = whole(20, short=3)


@pytest.fixture(scope="module")
def served(django_db_setup: None, marks: Path) -> Iterator[LiveServer]:
    counting = {
        "DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings",
        "HASH_MARKS": str(marks),
        "HASH_SECONDS": "0",
    }
    with run_server(marks.parent, workers=4, **counting, **FULL_COST) as service:
        yield service


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_only_five_of_200_guesses_are_verified(
    served: LiveServer, marks: Path, number: int, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockout_bursts, "CONCURRENT", lockout_bursts.BURST)
    lockout_bursts.assert_lockout_after_five_guesses(
        served, marks, f"round-{number}@example.com", known=known
    )


def test_lock_ends_at_its_second(served: LiveServer, superuser: Any) -> None:
    make_creator("ada@example.com")
    for number in range(5):
        served.post("login", {"email": "ada@example.com", "password": "wrong"}, ip=f"192.0.2.{number}")
    superuser.execute("UPDATE axes_accessattempt SET attempt_time = now() - interval '1795 seconds'")
    (end,) = superuser.execute(
        "SELECT extract(epoch FROM attempt_time + interval '30 minutes') FROM axes_accessattempt"
    ).fetchone()
    last_refusal = first_success = 0.0
    for number in range(1000):
        sent_at = time.time()
        reply = served.post(
            "login",
            {"email": "ada@example.com", "password": PASSWORD},
            ip=f"198.51.{number // 200}.{number % 200}",
        )
        if reply.status == 200:
            first_success = time.time()
            break
        assert reply.code == "account_locked"
        assert int(reply.headers["retry-after"]) == pytest.approx(float(end) - sent_at, abs=1.5)
        last_refusal = sent_at
        time.sleep(0.02)
    assert last_refusal < float(end) < first_success
    assert first_success - float(end) < 1


def test_concurrent_right_passwords_lock_no_account(served: LiveServer) -> None:
    make_creator("ada@example.com")

    def sign_in(number: int) -> int:
        body = {"email": "ada@example.com", "password": PASSWORD}
        return served.post("login", body, ip=f"198.51.100.{number}").status

    statuses = all_at_once(20, sign_in)
    while 429 in statuses or 503 in statuses:  # refused, but not locked
        statuses = [s if s == 200 else sign_in(n) for n, s in enumerate(statuses)]
    assert statuses == [200] * 20


def test_reservation_of_a_killed_process_expires(served: LiveServer, superuser: Any) -> None:
    make_creator("ada@example.com")
    for _ in range(5):
        lockout_bursts.reserve_and_die("ada@example.com")
    started = time.monotonic()
    while (
        served.post("login", {"email": "ada@example.com", "password": PASSWORD}, ip=next(ADDRESSES)).status
        != 200
    ):
        time.sleep(0.5)
    assert 15 < time.monotonic() - started < 25


ADDRESSES = iter(f"203.0.113.{number}" for number in range(250))
