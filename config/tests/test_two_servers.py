"""Two servers behind one address, PgBouncer in transaction mode before PostgreSQL, counters in Redis.

Lockout and rate limits are tested with the same assertions as on one server.
"""

from pathlib import Path

import psycopg
import pytest

from accounts.tests.support.flows import all_at_once
from accounts.tests.support.lockout_bursts import (
    assert_lockout_after_five_guesses,
    assert_right_passwords_lock_no_account,
    marks,
)
from config.tests.support.accounts import make_creator
from config.tests.support.consistency_load import token_claim
from config.tests.support.isolation_load import assert_isolated, log_in, served
from config.tests.support.live_server import LiveServer, Reply

__all__ = ["marks", "served"]
pytestmark = pytest.mark.slow
REQUESTS = 2_000


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_only_five_of_200_parallel_guesses_are_verified(served: LiveServer, marks: Path, known: bool) -> None:
    assert_lockout_after_five_guesses(served, marks, "burst@example.com", known=known)


def test_twenty_right_passwords_at_once_lock_nobody_out(served: LiveServer) -> None:
    assert_right_passwords_lock_no_account(served)


def test_parallel_refreshes_get_one_successor(served: LiveServer, superuser: psycopg.Connection) -> None:
    pair = log_in(served, make_creator("ada@example.com"), ip="192.0.2.1")

    def refresh(number: int) -> Reply:
        return served.post("refresh", {"refresh": pair["refresh"]}, ip=f"198.51.100.{number}")

    replies = all_at_once(20, refresh)
    assert {reply.status for reply in replies} == {200}
    assert len({token_claim(reply.json()["refresh"], "jti") for reply in replies}) == 1
    assert superuser.execute("SELECT count(*) FROM refresh_tokens").fetchone() == (2,)


def test_reuse_ends_the_session_on_both_servers(served: LiveServer) -> None:
    first = log_in(served, make_creator("ada@example.com"), ip="192.0.2.2")
    second = served.post("refresh", {"refresh": first["refresh"]}, ip="192.0.2.3").json()
    third = served.post("refresh", {"refresh": second["refresh"]}, ip="192.0.2.3").json()
    assert served.post("refresh", {"refresh": first["refresh"]}, ip="192.0.2.3").code == "token_reused"
    replies = [served.call("GET", "me", token=third["access"]) for _ in range(20)]
    assert {reply.code for reply in replies} == {"invalid_token"}


# --- isolation ------------------------------------------------------------------------------------


def test_no_tenant_sees_a_row_of_another(served: LiveServer) -> None:
    assert_isolated(served, REQUESTS)
