"""`make prove`: 100,000 mixed requests of fifty tenants show no row of another tenant."""

from accounts.tests.support.lockout_bursts import marks
from config.tests.support.isolation_load import assert_isolated, served
from config.tests.support.live_server import LiveServer
from config.tests.support.proofs import whole

__all__ = ["marks", "served"]


def test_no_request_shows_a_row_of_another_tenant(served: LiveServer) -> None:
    assert_isolated(served, whole(100_000, short=10_000))
