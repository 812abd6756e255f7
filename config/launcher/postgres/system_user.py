"""The system user that runs an embedded PostgreSQL.

PostgreSQL refuses to run as root. If root starts the service, PostgreSQL runs as another system user.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEW_USER = "auth-postgres"
SYSTEM_USERS = ("postgres", NEW_USER, "_postgres")
Log = Callable[[str], None]


class PostgresError(Exception):
    """The embedded server can't run. The message is one line."""


@dataclass(frozen=True)
class SystemUser:
    """The user that runs the server. Without ids it is the user that runs this process."""

    name: str = ""
    uid: int | None = None
    gid: int | None = None

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=clean_environment(),
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.gid is None else [],
        )

    def can_execute(self, path: Path) -> bool:
        """Whether this user may run a program, or enter a directory."""
        return self.uid is None or self.run("/bin/sh", "-c", 'test -x "$0"', path).returncode == 0

    def chown(self, path: Path, mode: int) -> Path:
        """Make this user the owner of `path`, with the permissions `mode`."""
        path.chmod(mode)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)
        return path


def clean_environment() -> dict[str, str]:
    """For PostgreSQL's programs: no PG* variables, no secrets, untranslated messages."""
    passed_on = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in passed_on if name in os.environ} | {"LC_ALL": "C"}


def server_user(data: Path, log: Log) -> SystemUser:
    """The owner of the data directory; if there is none yet, a known system user or a new one."""
    if os.geteuid() != 0:
        return SystemUser()
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return SystemUser(_user_name(owner.st_uid), owner.st_uid, owner.st_gid)
    return _find_user(*SYSTEM_USERS) or _create_user(log)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _find_user(*names: str) -> SystemUser | None:
    entries = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_name in names}
    for name in names:
        if name in entries:
            return SystemUser(name, entries[name].pw_uid, entries[name].pw_gid)
    return None


def _create_user(log: Log) -> SystemUser:
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd is None:
        if nobody := _find_user("nobody"):
            log("PostgreSQL can't run as root and useradd is missing; running it as the user nobody")
            return nobody
        message = "PostgreSQL can't run as root: create a system user named postgres, or set DATABASE_URL"
        raise PostgresError(message)
    result = SystemUser().run(useradd, "--system", "--no-create-home", "--shell", "/bin/false", NEW_USER)
    user = _find_user(NEW_USER)
    if result.returncode or user is None:
        message = f"PostgreSQL can't run as root, and useradd failed: {last_line(result.stderr)}"
        raise PostgresError(message)
    log(f"PostgreSQL can't run as root; created the system user {NEW_USER} for it")
    return user


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
