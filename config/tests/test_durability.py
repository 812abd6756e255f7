"""kill -9 in the middle of many requests: what was answered is kept, and no change is without its record."""

from pathlib import Path

import psycopg
import pytest

from config.tests.support.durability import kill_under_load

pytestmark = pytest.mark.slow

ROUNDS = 3


def test_killed_server_loses_no_record_of_a_committed_change(
    tmp_path: Path, transactional_db: None, superuser: psycopg.Connection
) -> None:
    kill_under_load(tmp_path, superuser, rounds=ROUNDS)
