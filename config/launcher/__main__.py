"""Entry point of `make run`: starts PostgreSQL, the server and the mail worker, and stops them together."""

import contextlib
import signal
import sys
from collections.abc import Mapping

import psycopg

from config.launcher.postgres.cluster import EmbeddedPostgres
from config.launcher.postgres.system_user import PostgresError, last_line
from tenancy.roles import Roles

from .commands import run_command
from .instance import (
    DATABASE_URLS,
    Instance,
    StartError,
    clear_metrics,
    locked,
    make_data_dir,
    port_reserved,
    read_instance,
    save,
    saved_secret,
)
from .output import argon2_build, log
from .services import mail_worker, server, supervise

DATABASE = "auth"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    for number in STOP_SIGNALS:
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
    """Stop everything. Later signals are ignored, so that they can't interrupt the shutdown."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(instance: Instance) -> None:
    """Serve until a signal or a failure. On exit the server stops first and PostgreSQL last."""
    make_data_dir(instance)
    with locked(instance), port_reserved(instance), contextlib.ExitStack() as running:
        clear_metrics(instance)
        postgres, urls = databases(instance, running)
        secrets = {"SECRET_KEY": saved_secret(instance)} | urls
        prepare(instance, secrets)
        del secrets["OWNER_DATABASE_URL"]  # only migrations change tables
        services = [
            running.enter_context(service)
            for service in (mail_worker(instance, secrets), server(instance, secrets))
            if service
        ]
        supervise(instance, postgres, services)


def databases(
    instance: Instance, running: contextlib.ExitStack
) -> tuple[EmbeddedPostgres | None, dict[str, str]]:
    """The embedded server or None, and the value of each of DATABASE_URLS ("" if it is not set)."""
    if "DATABASE_URL" in instance.given:
        return None, {name: instance.given.get(name, "") for name in DATABASE_URLS}
    postgres = running.enter_context(EmbeddedPostgres(instance.data_dir / "postgres", log=log))
    roles = Roles.of(DATABASE)
    postgres.ensure_database(DATABASE, roles)
    users = (roles.app, roles.operator, roles.owner)
    urls = {name: postgres.url(user, DATABASE) for name, user in zip(DATABASE_URLS, users, strict=True)}
    save(instance, urls)
    log(f"PostgreSQL is running; its data is in {postgres.home}")
    return postgres, urls


def prepare(instance: Instance, secrets: Mapping[str, str]) -> None:
    run_command(instance, secrets, "migrate", "--no-input")
    log("The database is migrated")
    log(argon2_build())
    if secrets["OPERATOR_DATABASE_URL"]:
        run_command(instance, {**secrets, "OWNER_DATABASE_URL": ""}, "ensure_signing_key")
    else:
        log("OPERATOR_DATABASE_URL is not set: the admin is not served and no email is delivered")


if __name__ == "__main__":
    sys.exit(main())
