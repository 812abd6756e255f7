"""`make prove`: the server is killed twenty times under load, and loses nothing."""

from pathlib import Path

import psycopg

from config.tests.support.durability import kill_under_load
from config.tests.support.proofs import whole


def test_twenty_kills_lose_nothing(
    tmp_path: Path, transactional_db: None, superuser: psycopg.Connection
) -> None:
    kill_under_load(tmp_path, superuser, rounds=whole(20, short=5))
