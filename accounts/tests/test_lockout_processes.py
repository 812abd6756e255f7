"""Five means five over several worker processes, and a killed one locks nobody."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.tests.support.flows import all_at_once
from config.tests.support.fixtures import PASSWORD, make_creator
from config.tests.support.live_server import Served, serving

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.slow]
ROUNDS = 1
BURST = 200
HASHING_THREADS = 50  # threads; the service has 16


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks") / "hashes"


@pytest.fixture(scope="module")
def served(django_db_setup: None, marks: Path) -> Iterator[Served]:
    counting = {
        "DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings",
        "HASH_MARKS": str(marks),
        "HASH_SECONDS": "0.1",
    }
    with serving(marks.parent, workers=4, **counting) as service:
        yield service


def verified_hash(marks: Path) -> int:
    return marks.stat().st_size if marks.exists() else 0


def mixed_case(email: str, number: int) -> str:
    return "".join(c.upper() if (number >> (i % 8)) & 1 else c for i, c in enumerate(email))


def burst(served: Served, email: str, tries: int, *, first: int = 0) -> Counter[str]:
    """Wrong passwords for one address, each in another spelling and from another client address."""

    def attempt(number: int) -> str:
        body = {"email": mixed_case(email, number), "password": f"wrong {number}"}
        return served.post("login", body, ip=f"203.0.{number // 200}.{number % 200}").code

    codes: Counter[str] = Counter()
    for start in range(first, first + tries, HASHING_THREADS):
        count = min(HASHING_THREADS, first + tries - start)
        codes += Counter(all_at_once(count, lambda number, start=start: attempt(start + number)))  # type: ignore[misc]
    return codes


def prove_five(served: Served, marks: Path, email: str) -> None:
    before = verified_hash(marks)
    codes = burst(served, email, BURST)
    assert codes.total() == BURST
    assert verified_hash(marks) - before <= 5
    first = BURST
    # refused while verdicts were awaited, or without a place: they try again
    while refused := codes.pop("rate_limited", 0) + codes.pop("busy", 0):
        codes += burst(served, email, refused, first=first)
        first += refused
    assert verified_hash(marks) - before == 5
    assert codes == {"invalid_credentials": 5, "account_locked": BURST - 5}


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_of_200_parallel_guesses_over_four_processes_five_are_looked_at(
    served: Served, marks: Path, known: bool
) -> None:
    for number in range(ROUNDS):
        email = f"round-{number}@example.com"
        if known:
            make_creator(email)
        prove_five(served, marks, email)
        right = served.post("login", {"email": email, "password": PASSWORD}, ip="192.0.2.1")
        assert (right.status, right.code) == (429, "account_locked")


def test_twenty_right_passwords_at_once_lock_nobody_out(served: Served) -> None:
    make_creator("ada@example.com")

    def enter(number: int) -> int:
        body = {"email": "ada@example.com", "password": PASSWORD}
        return served.post("login", body, ip=f"198.51.100.{number}").status

    assert Counter(all_at_once(20, enter)) == {200: 20}


def test_killed_processes_lock_nobody_out(served: Served, marks: Path, superuser: Any) -> None:
    make_creator("ada@example.com")
    before = verified_hash(marks)
    workers = served.workers()
    assert len(workers) == 4

    def guess(number: int) -> bool:
        if number == 5:  # as soon as all five are being looked at, every process dies
            while verified_hash(marks) - before < 5:
                time.sleep(0.005)
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            return True
        try:
            served.post("login", {"email": "ada@example.com", "password": "wrong"}, ip=f"198.51.100.{number}")
        except OSError:
            return True
        return False

    died = all_at_once(6, guess)
    assert sum(died) > 1, "nobody was killed between reservation and verdict"
    (left,) = superuser.execute("SELECT count(*) FROM login_reservations").fetchone()
    assert left > 0
    superuser.execute("UPDATE login_reservations SET expires_at = now()")  # as 20 seconds would
    deadline = time.monotonic() + 30
    while (status := _enter(served)) != 200:
        assert status in {0, 429, 503}
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _enter(served: Served) -> int:
    try:
        reply = served.post("login", {"email": "ada@example.com", "password": PASSWORD}, ip="192.0.2.9")
    except OSError:
        return 0
    assert reply.code != "account_locked"
    return reply.status
