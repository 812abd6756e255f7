"""`make prove`: the server is killed twenty times under load."""

from pathlib import Path

import psycopg
import pytest

from config.tests.support.proofs import whole

from .test_durability import kill_under_load

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def test_twenty_kills_lose_nothing(
    tmp_path: Path, transactional_db: None, superuser: psycopg.Connection
) -> None:
    kill_under_load(tmp_path, superuser, rounds=whole(20, short=5))
