"""kill -9 in the middle of many requests: what was answered is kept, and no change is without its record."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from django.db import connections

from config.child import happens
from config.tests.fixtures import Person, make_creator
from config.tests.plugin import DATABASE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True, databases="__all__")]

GRANIAN = Path(sys.executable).parent / "granian"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """The real server on a port of its own, over the test database."""

    def __init__(self, output: Path) -> None:
        self.port = free_port()
        command = [
            str(GRANIAN), "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2",
            "--blocking-threads", "2", "config.wsgi:application",
        ]  # fmt: skip
        with output.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ, stdout=log, stderr=log, start_new_session=True
            )

    def ready(self) -> bool:
        return happens(self._answers, within=30)

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        try:
            connection.request(method, path, json.dumps(body).encode() if body else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except http.client.HTTPException as error:
            raise ConnectionError from error
        finally:
            connection.close()

    def kill(self) -> None:
        """Master and workers at once, without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Answered:
    """What clients were told had happened."""

    sessions: list[str] = field(default_factory=list)
    refreshes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unanswered: int = 0


@pytest.fixture
def start(tmp_path: Path, transactional_db: None) -> Iterator[Any]:
    running: list[Service] = []

    def begin() -> Service:
        service = Service(tmp_path / f"server-{len(running)}.log")
        running.append(service)
        assert service.ready(), (tmp_path / f"server-{len(running) - 1}.log").read_text()
        return service

    yield begin
    for service in running:
        if service.process.poll() is None:
            service.kill()


def sid(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


def jti(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


def live(service: Service, person: Person, answered: Answered) -> None:
    """Sign in, refresh, take a new name, and again, until the line is dead."""
    number = 0
    while True:
        number += 1
        try:
            status, pair = service.call(
                "POST", "/api/v1/auth/login", {"email": person.email, "password": person.password}
            )
            assert status == 200, pair
            answered.sessions.append(sid(pair["access"]))
            status, newer = service.call("POST", "/api/v1/auth/refresh", {"refresh": pair["refresh"]})
            assert status == 200, newer
            answered.refreshes.append(jti(newer["refresh"]))
            name = f"{person.email} {number}"
            status, me = service.call("PATCH", "/api/v1/auth/me", {"display_name": name}, newer["access"])
            assert status == 200, me
            answered.names.append(name)
        except OSError:
            answered.unanswered += 1
            return


def backends_gone(superuser: psycopg.Connection) -> bool:
    row = superuser.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'auth_app'", [DATABASE]
    ).fetchone()
    return row == (0,)


@pytest.mark.parametrize("moment", [0.4, 0.7, 1.1])
def test_killed_server_loses_no_record_of_a_committed_change(
    start: Any, superuser: psycopg.Connection, moment: float
) -> None:
    cast = [make_creator(f"creator{number}@example.com") for number in range(8)]
    connections.close_all()
    service, answered = start(), Answered()
    threads = [threading.Thread(target=live, args=(service, person, answered)) for person in cast]
    for thread in threads:
        thread.start()
    assert happens(lambda: len(answered.names) >= 3, within=20)
    threading.Event().wait(moment)
    service.kill()
    for thread in threads:
        thread.join(timeout=20)
    assert answered.unanswered == len(cast)  # each was cut off in the middle of something
    assert happens(lambda: backends_gone(superuser), within=10)

    def column(sql: str) -> list[Any]:
        return [value for (value,) in superuser.execute(sql.encode())]

    sessions = column("SELECT id::text FROM sessions")
    recorded = column("SELECT detail->>'session' FROM audit_logs WHERE type = 'login.succeeded'")
    assert set(answered.sessions) <= set(sessions)
    assert sorted(sessions) == sorted(recorded)  # both or neither, each once
    assert set(answered.refreshes) <= set(column("SELECT id::text FROM refresh_tokens"))
    assert not column("SELECT id FROM refresh_tokens r WHERE used_at IS NOT NULL AND NOT EXISTS "
                      "(SELECT FROM refresh_tokens s WHERE s.parent_id = r.id)")  # fmt: skip
    renamed = column("SELECT count(*) FROM audit_logs WHERE type = 'profile.updated'")[0]
    assert len(answered.names) <= renamed <= len(answered.names) + len(cast)
    for person in cast:
        ((kept, count),) = superuser.execute(
            "SELECT display_name, (SELECT count(*) FROM audit_logs WHERE type = 'profile.updated' AND creator_id = c.id)"
            " FROM creators c WHERE id = %s", [person.id]
        ).fetchall()  # fmt: skip
        assert kept == (f"{person.email} {count}" if count else ""), "the record and the name go together"


def test_next_start_after_a_kill_is_clean_and_locks_nobody_out(
    start: Any, superuser: psycopg.Connection
) -> None:
    person = make_creator("ada@example.com")
    connections.close_all()
    first, answered = start(), Answered()
    threads = [threading.Thread(target=live, args=(first, person, answered)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert happens(lambda: len(answered.sessions) >= 4, within=20)
    first.kill()
    for thread in threads:
        thread.join(timeout=20)
    second = start()
    assert second.call("GET", "/readyz")[0] == 200
    body = {"email": person.email, "password": person.password}
    status, pair = second.call("POST", "/api/v1/auth/login", body)
    assert status == 200
    assert second.call("GET", "/api/v1/auth/me", token=pair["access"])[0] == 200
