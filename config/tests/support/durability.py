"""Processes that are killed under load."""

import os
import signal
import time
from pathlib import Path

import psycopg

from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD
from config.tests.support.consistency_load import Account, Life, answers, assert_books_balance, load, settle
from config.tests.support.environment import DATABASE
from config.tests.support.live_server import NO_LIMITS, Served, serving

WRONG = "not the password of anybody"


def backends_gone(superuser: psycopg.Connection) -> bool:
    row = superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'auth_app'", [DATABASE]
    ).fetchone()
    return row == (0,)


def log_in(served: Served, account: Account, password: str = PASSWORD) -> str:
    """The code of a refusal, "" for none."""
    return served.post("login", {"email": account.email, "password": password}).code


def live_until_killed(place: Path, lives: list[Life], *, seconds: float) -> None:
    """Master and workers die at once, without a word."""
    with serving(place, workers=2, **NO_LIMITS) as served, load(lives, served.call):
        done = len(answers(lives))
        assert wait_until(lambda: len(answers(lives)) > done + 4 * len(lives), within=30)
        time.sleep(seconds)
        os.killpg(served.child.pid, signal.SIGKILL)
        served.child.wait()


def kill_under_load(place: Path, superuser: psycopg.Connection, *, rounds: int) -> None:
    *cast, locked, nearly = settle(superuser, 10)
    lives = [Life(account) for account in cast]
    with serving(place, workers=1, **NO_LIMITS) as served:
        assert [log_in(served, locked, WRONG) for _ in range(5)] == ["invalid_credentials"] * 5
        assert [log_in(served, nearly, WRONG) for _ in range(4)] == ["invalid_credentials"] * 4
    for number in range(rounds):
        live_until_killed(place, lives, seconds=0.05 * number)
        assert wait_until(lambda: backends_gone(superuser), within=10)
        assert_books_balance(superuser, lives)
    assert {answer.status for answer in answers(lives)} == {200, 0}  # nobody was told of a lock
    with serving(place, workers=1, **NO_LIMITS) as served:
        assert log_in(served, locked) == "account_locked"  # none is lost
        assert [log_in(served, account) for account in cast] == [""] * len(cast)  # and none made
        assert [log_in(served, nearly, WRONG) for _ in range(2)] == ["invalid_credentials", "account_locked"]
