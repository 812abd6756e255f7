"""What `make run` ends in: PostgreSQL, the server and the mail worker, started and stopped together."""

import contextlib
import http.client
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psycopg

from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.system import PostgresError, last_line
from tenancy.roles import Roles

from .instance import (
    DATABASE_URLS,
    ROOT,
    Instance,
    StartError,
    clear_metrics,
    locked,
    make_data_dir,
    port_reserved,
    read_env,
    read_instance,
    save,
    saved_secret,
)
from .process import ManagedProcess, StopPolicy

DATABASE = "auth"
APPLICATION = "config.wsgi:application"
MANAGE = (sys.executable, str(ROOT / "manage.py"))
WORKERS = 8  # at most: each thread keeps a connection or two, and the embedded server takes three hundred
THREADS = 24  # a worker's; all but two may hash, or wait to
GRACE_SECONDS = 10  # for requests under way
SETTLED_SECONDS = 10  # who dies sooner than this after a start would die again
BEAT_SECONDS = 0.2
PATIENCE_SECONDS = 10  # then a line says what is being waited for

# Each line can be pasted into a shell as it is.
FIRST_STEPS = r"""Ready: %(public)s (Ctrl-C stops it)
  Documentation: /api/docs/    Operators: /admin/, with an authenticator app, after
    %(which)s.venv/bin/python manage.py createsuperuser
  To sign up and in (%(mail)s):
    api() { curl -sS -H 'Content-Type: application/json' %(base)s/api/v1/auth/"$@"; echo; }
    word='seven lanterns above a quiet harbour'
    api register -d "{\"email\": \"%(address)s\", \"password\": \"$word\"}"
"""
BY_FILE = r"""    sleep 3; mail=%(mails)s/$(ls -t %(mails)s | head -1); cat "$mail"
    set -- $(grep -o 'verify-email/[^/]*/[^/]*' "$mail" | head -1 | tr / ' ')
    pair=$(api email/verify -d "{\"uid\": \"$2\", \"token\": \"$3\", \"password\": \"$word\"}"); echo "$pair"
    api me -H "Authorization: Bearer $(echo "$pair" | sed 's/.*"access": *"\([^"]*\).*/\1/')"
"""
BY_MAIL = r"""    # open the link in the mail and give the password: $word. Then:
    pair=$(api login -d "{\"email\": \"%(address)s\", \"password\": \"$word\"}"); echo "$pair"
    api me -H "Authorization: Bearer $(echo "$pair" | sed 's/.*"access": *"\([^"]*\).*/\1/')"
"""


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, stop_on_first_signal)
    try:
        run(read_instance())
    except KeyboardInterrupt:
        log("Stopped.")
        return 0
    except (StartError, PostgresError, OSError, psycopg.Error) as error:
        print(last_line(str(error)), file=sys.stderr, flush=True)
    return 1


def stop_on_first_signal(*_: object) -> None:
    """The first signal stops everything; impatience must not cut the stopping short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def log(line: str) -> None:
    print(line, flush=True)


def run(instance: Instance) -> None:
    """Serve until a signal or a failure; leaving stops the server first and PostgreSQL last."""
    make_data_dir(instance)
    with locked(instance), port_reserved(instance), contextlib.ExitStack() as running:
        clear_metrics(instance)
        postgres, urls = databases(instance, running)
        secrets = {"SECRET_KEY": saved_secret(instance)} | urls
        prepare(instance, secrets)
        del secrets["OWNER_DATABASE_URL"]  # from here on nobody changes a table
        services = [
            running.enter_context(service)
            for service in (mail_worker(instance, secrets), server(instance, secrets))
            if service
        ]
        supervise(instance, postgres, services)


def databases(
    instance: Instance, running: contextlib.ExitStack
) -> tuple[EmbeddedPostgres | None, dict[str, str]]:
    """The server that we keep, if any, and the URL for each kind of work ("" where there is none)."""
    if "DATABASE_URL" in instance.given:
        return None, {name: instance.given.get(name, "") for name in DATABASE_URLS}
    postgres = running.enter_context(EmbeddedPostgres(instance.data_dir / "postgres", log=log))
    roles = Roles.of(DATABASE)
    postgres.ensure_database(DATABASE, roles)
    users = (roles.app, roles.operator, roles.owner)
    urls = {name: postgres.url(user, DATABASE) for name, user in zip(DATABASE_URLS, users, strict=True)}
    save(instance, urls)
    log(f"PostgreSQL runs, its data are in {postgres.home}")
    return postgres, urls


def prepare(instance: Instance, secrets: Mapping[str, str]) -> None:
    manage(instance, secrets, "migrate", "--no-input")
    log("The tables are up to date")
    log(argon2_build())
    if secrets["OPERATOR_DATABASE_URL"]:
        manage(instance, {**secrets, "OWNER_DATABASE_URL": ""}, "ensure_signing_key")
    else:
        log("OPERATOR_DATABASE_URL is not set: no admin is served, and no mail is delivered from here")


def argon2_build() -> str:
    """Which of the two the Makefile could get."""
    if (Path(sys.prefix) / "argon2.note").exists():
        return "Argon2 is built for this processor"
    return "Argon2 is its wheel's; with a C compiler and Python's headers, it would be half again as fast"


def manage(instance: Instance, secrets: Mapping[str, str], command: str, *options: str) -> None:
    """Run a command of manage.py to its end; what it prints is kept in a file."""
    log = instance.data_dir / "log" / f"{command}.log"
    with log.open("wb") as output:
        env = environment(instance, secrets)
        child = ManagedProcess([*MANAGE, command, *options], env=env, cwd=ROOT, output=output)
        try:
            status = child.wait()
        finally:
            child.stop()
    if status:
        message = f"manage.py {command} failed: {last_line(log.read_text(errors='replace'))} (more in {log})"
        raise StartError(message)


def environment(instance: Instance, secrets: Mapping[str, str]) -> dict[str, str]:
    """Ours, with these secrets and no others.

    An empty variable keeps a child from reading in `.env` or `instance.env` what it shall not know.
    """
    ours = {name: value for name, value in os.environ.items() if name not in DATABASE_URLS}
    if "DATABASE_URL" not in instance.given:
        ours = {name: value for name, value in ours.items() if not name.startswith("PG")}
    withheld = {name: "" for name in DATABASE_URLS if name in read_env(ROOT / ".env")}
    place = {"HOST": instance.host, "PORT": str(instance.port), "DATA_DIR": str(instance.data_dir)}
    place["WORKER_THREADS"] = str(THREADS)
    place["PROMETHEUS_MULTIPROC_DIR"] = str(instance.metrics)
    return ours | withheld | place | {name: value for name, value in secrets.items() if value}


class Service:
    """A child that is started again when it ends, unless it ends at once."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], stop_policy: StopPolicy
    ) -> None:
        self.name = name
        self._command, self._env, self._stop_policy = command, env, stop_policy

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def _start(self) -> None:
        self._child = ManagedProcess(self._command, env=self._env, stop_policy=self._stop_policy, cwd=ROOT)
        self._since = time.monotonic()

    def restart_if_exited(self) -> None:
        """Start it again if it has ended; raises StartError when that is for good."""
        status = self._child.poll()
        if status is None:
            return
        if time.monotonic() - self._since < SETTLED_SECONDS:
            message = f"{self.name} ended (status {status}); everything stops"
            raise StartError(message)
        log(f"{self.name} ended (status {status}); starting it again")
        self._start()


def server(instance: Instance, secrets: Mapping[str, str]) -> Service:
    command = [sys.executable, "-m", "config.launcher.granian", "--interface", "wsgi", APPLICATION]
    command += ["--host", instance.address[1], "--port", str(instance.port)]
    command += ["--workers", str(min(cores(), WORKERS)), "--blocking-threads", str(THREADS)]
    command += ["--http", "1", "--no-ws", "--backlog", "1024", "--http1-header-read-timeout", "10000"]
    command += ["--respawn-failed-workers", "--workers-kill-timeout", str(GRACE_SECONDS)]
    command += ["--log-level", "error"]
    stop_policy = StopPolicy(grace_seconds=GRACE_SECONDS + 5)
    return Service("The server", command, environment(instance, secrets), stop_policy)


def mail_worker(instance: Instance, secrets: Mapping[str, str]) -> Service | None:
    if not secrets["OPERATOR_DATABASE_URL"]:
        return None
    command = [*MANAGE, "run_worker"]
    return Service("The mail worker", command, environment(instance, secrets), StopPolicy())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def supervise(instance: Instance, postgres: EmbeddedPostgres | None, services: Sequence[Service]) -> None:
    """Never returns: a signal or the end of a child for good ends it, as KeyboardInterrupt or StartError."""
    beats = heartbeat(postgres, services)
    patience = time.monotonic() + PATIENCE_SECONDS
    while (answer := readiness(instance)) != "200":
        next(beats)
        if time.monotonic() > patience:
            log(f"Not ready yet: GET {instance.base_url}/readyz: {answer}")
            patience = float("inf")
    log(first_steps(instance).rstrip())
    for _ in beats:
        pass


def heartbeat(postgres: EmbeddedPostgres | None, services: Sequence[Service]) -> Iterator[None]:
    """One look at every child a beat.

    make passes SIGTERM on, but dies alone of a SIGKILL: who was started by it ends with it.
    """
    parent = os.getppid()
    while True:
        if postgres and (status := postgres.poll()) is not None:
            message = f"PostgreSQL ended (status {status}); everything stops"
            raise StartError(message)
        for service in services:
            service.restart_if_exited()
        if "MAKELEVEL" in os.environ and os.getppid() != parent:
            message = "make is gone; everything stops"
            raise StartError(message)
        time.sleep(BEAT_SECONDS)
        yield


def readiness(instance: Instance) -> str:
    """Status of GET /readyz, or why there is no answer."""
    parts = urlsplit(instance.base_url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": instance.host_header})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def first_steps(instance: Instance) -> str:
    at_home = instance.data_dir == ROOT / "var"
    by_mail = "EMAIL_URL" in instance.given
    return (FIRST_STEPS + (BY_MAIL if by_mail else BY_FILE)) % {
        "public": instance.public_url or instance.base_url,
        "base": instance.base_url,
        "mail": "mails go to the server of EMAIL_URL" if by_mail else "mails are files here",
        "address": "YOU@YOUR.DOMAIN" if by_mail else "ada@example.com",
        "mails": shlex.quote(str(instance.data_dir / "mail")),
        "which": "" if at_home else f"DATA_DIR={shlex.quote(str(instance.data_dir))} ",
    }
