"""Pytest plugin that starts the PostgreSQL of the test run and sets the environment of the settings.

`-p` in pytest.ini loads it, because that happens before pytest-django reads the settings.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from config.launcher.postgres.cluster import EmbeddedPostgres
from tenancy.roles import Roles

ROOT = Path(__file__).resolve().parents[3]
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}
ROLES = Roles.of("auth")
DATABASE = f"auth_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
server = EmbeddedPostgres(ROOT / "var" / "test-postgres", settings=FAST)


def _environment() -> dict[str, str]:
    return {
        "SECRET_KEY": "only-for-tests-" + "0123456789" * 5,
        "DATA_DIR": tempfile.mkdtemp(prefix="auth-tests-"),
        "DATABASE_URL": server.url(ROLES.app, DATABASE),
        "OPERATOR_DATABASE_URL": server.url(ROLES.operator, DATABASE),
        "OWNER_DATABASE_URL": server.url(ROLES.owner, DATABASE),
        "ARGON2_MEMORY_COST": "64",
        "ARGON2_TIME_COST": "1",
        "ARGON2_PARALLELISM": "1",
        "BCRYPT_ROUNDS": "4",
        "HIBP_ENABLED": "false",
        "WORKER_THREADS": "1000",
        "LOG_LEVEL": "INFO",
    }


# the developer's environment must not change the tests
for _name in [name for name in os.environ if name.startswith(("JWT_", "RATE_LIMIT_", "PASSWORD_", "EMAIL_"))]:
    del os.environ[_name]
if "PYTEST_XDIST_WORKER" not in os.environ:
    server.start()
os.environ.update(_environment())


def pytest_unconfigure(config: Any) -> None:
    shutil.rmtree(os.environ["DATA_DIR"], ignore_errors=True)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        server.stop()
