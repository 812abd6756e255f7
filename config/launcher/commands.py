"""Runs `manage.py`, and decides which environment variables a child process gets."""

import os
import sys
from collections.abc import Mapping

from config.launcher.postgres.system_user import last_line

from .instance import DATABASE_URLS, ROOT, Instance, StartError, read_env
from .process import ManagedProcess

MANAGE = (sys.executable, str(ROOT / "manage.py"))
THREADS = 24  # of a server process; two fewer may hash passwords at once


def run_command(instance: Instance, secrets: Mapping[str, str], command: str, *options: str) -> None:
    """Run a command of manage.py and wait for it. Its output goes to `log/<command>.log` in DATA_DIR."""
    log = instance.data_dir / "log" / f"{command}.log"
    with log.open("wb") as output:
        env = child_environment(instance, secrets)
        child = ManagedProcess([*MANAGE, command, *options], env=env, cwd=ROOT, output=output)
        try:
            status = child.wait()
        finally:
            child.stop()
    if status:
        message = f"manage.py {command} failed: {last_line(log.read_text(errors='replace'))} (more in {log})"
        raise StartError(message)


def child_environment(instance: Instance, secrets: Mapping[str, str]) -> dict[str, str]:
    """Our environment, the settings of this instance, and of the database URLs only those in `secrets`."""
    return {
        **_inherited(instance),
        **_hidden_from_dotenv(),
        "HOST": instance.host,
        "PORT": str(instance.port),
        "DATA_DIR": str(instance.data_dir),
        "WORKER_THREADS": str(THREADS),
        "PROMETHEUS_MULTIPROC_DIR": str(instance.metrics),
        **{name: value for name, value in secrets.items() if value},
    }


def _inherited(instance: Instance) -> dict[str, str]:
    """Our environment without database URLs; without libpq's PG* variables if PostgreSQL is embedded."""
    is_embedded = "DATABASE_URL" not in instance.given
    return {
        name: value
        for name, value in os.environ.items()
        if name not in DATABASE_URLS and not (is_embedded and name.startswith("PG"))
    }


def _hidden_from_dotenv() -> dict[str, str]:
    """An empty variable for each database URL in `.env`.

    The settings read `.env` only for variables that do not exist, and take an empty one as not set.
    """
    return {name: "" for name in DATABASE_URLS if name in read_env(ROOT / ".env")}
