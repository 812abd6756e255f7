"""`make prove`: a hundred thousand mixed requests of fifty tenants show no foreign row."""

from accounts.tests.support.lockout_bursts import marks
from config.tests.support.isolation_load import prove_isolation, served
from config.tests.support.live_server import Served
from config.tests.support.proofs import whole

__all__ = ["marks", "served"]


def test_a_hundred_thousand_requests_show_no_foreign_row(served: Served) -> None:
    prove_isolation(served, whole(100_000, short=10_000))
