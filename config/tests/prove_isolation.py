"""`make prove`: a hundred thousand mixed requests of fifty tenants show no foreign row."""

import pytest

from config.tests.support.live_server import Served
from config.tests.support.proofs import whole

from .test_two_servers import marks, prove_isolation, served  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_a_hundred_thousand_requests_show_no_foreign_row(served: Served) -> None:  # noqa: F811
    prove_isolation(served, whole(100_000, short=10_000))
