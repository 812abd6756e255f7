"""Bursts of sign-ins against several server processes."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from accounts import sql
from accounts.tests.support.flows import all_at_once
from config.tests.support.accounts import PASSWORD, make_creator
from config.tests.support.live_server import LiveServer

BURST = 200
LOCK, LEASE = timedelta(minutes=30), timedelta(seconds=20)
CONCURRENT = 50  # threads; the service has 16


def reserve_and_die(email: str) -> None:
    """The reservation of a process that is killed while it verifies a password."""
    reserved = sql.lockout_reserve(
        login_scope="api", address=email, reservation=uuid4(), max_failures=5, lock_duration=LOCK, lease=LEASE
    )
    assert reserved.verdict == "go"


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks") / "hashes"


def hashes_computed(marks: Path) -> int:
    return marks.stat().st_size if marks.exists() else 0


def mixed_case(email: str, number: int) -> str:
    return "".join(c.upper() if (number >> (i % 8)) & 1 else c for i, c in enumerate(email))


def burst(served: LiveServer, email: str, tries: int, *, first: int = 0) -> Counter[str]:
    """Wrong passwords for one address, each in another spelling and from another client address."""

    def attempt(number: int) -> str:
        body = {"email": mixed_case(email, number), "password": f"wrong {number}"}
        return served.post("login", body, ip=f"203.0.{number // 200}.{number % 200}").code

    codes: Counter[str] = Counter()
    for start in range(first, first + tries, CONCURRENT):
        count = min(CONCURRENT, first + tries - start)
        codes += Counter(all_at_once(count, lambda number, start=start: attempt(start + number)))  # type: ignore[misc]
    return codes


def assert_five_are_verified(served: LiveServer, marks: Path, email: str) -> None:
    before = hashes_computed(marks)
    codes = burst(served, email, BURST)
    assert codes.total() == BURST
    assert hashes_computed(marks) - before <= 5
    first = BURST
    # refused while results were pending, or without a free slot: they try again
    while refused := codes.pop("rate_limited", 0) + codes.pop("busy", 0):
        codes += burst(served, email, refused, first=first)
        first += refused
    assert hashes_computed(marks) - before == 5
    assert codes == {"invalid_credentials": 5, "account_locked": BURST - 5}


def assert_lockout_after_five_guesses(served: LiveServer, marks: Path, email: str, *, known: bool) -> None:
    """Of 200 parallel guesses five are verified; then the right password is refused, too."""
    if known:
        make_creator(email)
    assert_five_are_verified(served, marks, email)
    right = served.post("login", {"email": email, "password": PASSWORD}, ip="192.0.2.1")
    assert (right.status, right.code) == (429, "account_locked")


def assert_right_passwords_lock_no_account(served: LiveServer) -> None:
    make_creator("ada@example.com")

    def sign_in(number: int) -> int:
        body = {"email": "ada@example.com", "password": PASSWORD}
        return served.post("login", body, ip=f"198.51.100.{number}").status

    assert Counter(all_at_once(20, sign_in)) == {200: 20}
