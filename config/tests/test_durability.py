"""After SIGKILL under load, confirmed changes are kept and no change is without its audit event."""

from pathlib import Path

import psycopg
import pytest

from config.tests.support.durability import kill_under_load

pytestmark = pytest.mark.slow

ROUNDS = 3


def test_killed_server_loses_no_confirmed_change(
    tmp_path: Path, transactional_db: None, superuser: psycopg.Connection
) -> None:
    kill_under_load(tmp_path, superuser, rounds=ROUNDS)
