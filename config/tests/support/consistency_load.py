"""Simulated creators who sign in, refresh and change their names, to check consistency under faults.

Every confirmed change must be in the database, exactly once. An unconfirmed change may be there or not, but
never without its audit event. `load_generator` measures speed instead.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg

from accounts.services import password_hashing

from .accounts import PASSWORD
from .live_server import Reply

Call = Callable[..., Reply]


@dataclass(frozen=True)
class Account:
    id: UUID
    email: str
    password: str = PASSWORD


def insert_creators(superuser: psycopg.Connection, count: int) -> list[Account]:
    """Insert verified creators with SQL, also in a database that is not the tests'."""
    encoded = password_hashing.hash_password(PASSWORD)
    accounts = [Account(uuid4(), f"creator{number}@example.com") for number in range(count)]
    for account in accounts:
        superuser.execute(
            "INSERT INTO creators (id, email, password, holds_email, email_verified_at, display_name, "
            "is_active, is_staff, is_superuser, created_at) "
            "VALUES (%s, %s, %s, true, now(), '', true, false, false, now())",
            [account.id, account.email, encoded],
        )
    return accounts


@dataclass(frozen=True)
class Response:
    at: float
    seconds: float
    status: int  # 0: the connection was closed
    code: str
    retry_after: int


@dataclass
class SimulatedCreator:
    """One creator, and the changes that the service has confirmed."""

    account: Account
    responses: list[Response] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    refreshes: list[str] = field(default_factory=list)
    names: list[int] = field(default_factory=list)
    last_name: int = 0
    call: Call = field(init=False)

    def run(self, call: Call, stop: threading.Event) -> None:
        self.call = call
        while not stop.is_set():
            if not self._round():
                stop.wait(0.05)

    def _round(self) -> bool:
        """Sign in, refresh, change the name and read it; False after the first response that is not 200."""
        body = {"email": self.account.email, "password": self.account.password}
        if not (reply := self._request("POST", "login", body)):
            return False
        pair = reply.json()
        self.sessions.append(token_claim(pair["access"], "sid"))
        if not (reply := self._request("POST", "refresh", {"refresh": pair["refresh"]})):
            return False
        pair = reply.json()
        self.refreshes.append(token_claim(pair["refresh"], "jti"))
        self.last_name += 1
        if not self._request("PATCH", "me", {"display_name": f"{self.last_name}"}, token=pair["access"]):
            return False
        self.names.append(self.last_name)
        reply = self._request("GET", "me", token=pair["access"])
        assert reply is None or reply.json()["email"] == self.account.email
        return reply is not None

    def _request(self, method: str, path: str, body: Any = None, *, token: str = "") -> Reply | None:
        """The reply if it is 200. Every reply is recorded in `responses`."""
        began = time.monotonic()
        try:
            reply = self.call(method, path, body, token=token)
        except (OSError, http.client.HTTPException):
            reply = Reply(0, b"")
        wait = int(reply.headers.get("retry-after", 0))
        self.responses.append(Response(began, time.monotonic() - began, reply.status, reply.code, wait))
        return reply if reply.status == 200 else None


@contextmanager
def running_load(creators: Sequence[SimulatedCreator], call: Call) -> Iterator[None]:
    """Run all creators, each in a thread, until the block ends."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(creator: SimulatedCreator) -> None:
        try:
            creator.run(call, stop)
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(creator,)) for creator in creators]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    if errors:
        raise errors[0]


def responses(creators: Sequence[SimulatedCreator]) -> list[Response]:
    """In the order of the requests."""
    return sorted(
        (response for creator in creators for response in creator.responses),
        key=lambda response: response.at,
    )


def token_claim(token: str, name: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})[name])


def assert_consistent(superuser: psycopg.Connection, creators: Sequence[SimulatedCreator]) -> None:
    """No confirmed change is lost, no change is made twice, and none is without its audit event."""

    def column(sql: str, *values: Any) -> list[Any]:
        return [value for (value,) in superuser.execute(sql.encode(), values)]

    ids = [creator.account.id for creator in creators]  # the audit log has events of deleted creators, too
    logins = (
        "SELECT detail->>'session' FROM audit_logs WHERE type = 'login.succeeded' AND creator_id = ANY(%s)"
    )
    sessions, recorded = column("SELECT id::text FROM sessions"), column(logins, ids)
    assert sorted(sessions) == sorted(recorded)  # each session has exactly one event
    assert {session for creator in creators for session in creator.sessions} <= set(sessions)
    tokens = column("SELECT id::text FROM refresh_tokens")
    assert {token for creator in creators for token in creator.refreshes} <= set(tokens)
    assert not column("SELECT parent_id FROM refresh_tokens GROUP BY parent_id, creator_id "
                      "HAVING parent_id IS NOT NULL AND count(*) > 1")  # fmt: skip
    assert not column("SELECT id FROM refresh_tokens r WHERE used_at IS NOT NULL AND NOT EXISTS "
                      "(SELECT FROM refresh_tokens s WHERE s.parent_id = r.id)")  # fmt: skip
    for creator in creators:
        (name,) = column("SELECT display_name FROM creators WHERE id = %s", creator.account.id)
        changes = "SELECT count(*) FROM audit_logs WHERE type = 'profile.updated' AND creator_id = %s"
        (records,) = column(changes, creator.account.id)
        assert len(creator.names) <= records <= creator.last_name
        assert int(name or 0) >= max(creator.names, default=0)
