"""Kills the server with SIGKILL under load, and checks that nothing is lost."""

import os
import signal
import time
from pathlib import Path

import psycopg

from config.launcher.process import wait_until
from config.tests.support.accounts import PASSWORD
from config.tests.support.consistency_load import (
    Account,
    SimulatedCreator,
    assert_consistent,
    insert_creators,
    responses,
    running_load,
)
from config.tests.support.environment import DATABASE
from config.tests.support.live_server import NO_LIMITS, LiveServer, run_server

WRONG = "not the password of anybody"


def is_disconnected(superuser: psycopg.Connection) -> bool:
    row = superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'auth_app'", [DATABASE]
    ).fetchone()
    return row == (0,)


def log_in(served: LiveServer, account: Account, password: str = PASSWORD) -> str:
    """The code of the problem response, "" on success."""
    return served.post("login", {"email": account.email, "password": password}).code


def run_until_killed(directory: Path, creators: list[SimulatedCreator], *, seconds: float) -> None:
    """Kill master and workers at once."""
    with run_server(directory, workers=2, **NO_LIMITS) as served, running_load(creators, served.call):
        before = len(responses(creators))
        assert wait_until(lambda: len(responses(creators)) > before + 4 * len(creators), within=30)
        time.sleep(seconds)
        os.killpg(served.child.pid, signal.SIGKILL)
        served.child.wait()


def kill_under_load(directory: Path, superuser: psycopg.Connection, *, rounds: int) -> None:
    *accounts, locked, nearly_locked = insert_creators(superuser, 10)
    creators = [SimulatedCreator(account) for account in accounts]
    with run_server(directory, workers=1, **NO_LIMITS) as served:
        assert [log_in(served, locked, WRONG) for _ in range(5)] == ["invalid_credentials"] * 5
        assert [log_in(served, nearly_locked, WRONG) for _ in range(4)] == ["invalid_credentials"] * 4
    for number in range(rounds):
        run_until_killed(directory, creators, seconds=0.05 * number)
        assert wait_until(lambda: is_disconnected(superuser), within=10)
        assert_consistent(superuser, creators)
    assert {response.status for response in responses(creators)} == {200, 0}  # nobody was locked out
    with run_server(directory, workers=1, **NO_LIMITS) as served:
        # the failure counts survived, and none was added
        assert log_in(served, locked) == "account_locked"
        assert [log_in(served, account) for account in accounts] == [""] * len(accounts)
        refusals = [log_in(served, nearly_locked, WRONG) for _ in range(2)]
        assert refusals == ["invalid_credentials", "account_locked"]
