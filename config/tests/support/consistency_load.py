"""Creators who sign in, refresh and rename themselves all the while, and remember what they were told.

What was answered must be in the database whatever happened meanwhile; what was not answered may be or not,
but whole: the change and its record together, and once.
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


def settle(superuser: psycopg.Connection, count: int) -> list[Account]:
    """So many verified creators, past the walls: also in a database that is not the tests'."""
    encoded = password_hashing.hash_password(PASSWORD)
    cast = [Account(uuid4(), f"creator{number}@example.com") for number in range(count)]
    for account in cast:
        superuser.execute(
            "INSERT INTO creators (id, email, password, holds_email, email_verified_at, display_name, "
            "is_active, is_staff, is_superuser, created_at) "
            "VALUES (%s, %s, %s, true, now(), '', true, false, false, now())",
            [account.id, account.email, encoded],
        )
    return cast


@dataclass(frozen=True)
class Answer:
    at: float
    seconds: float
    status: int  # 0: the line was cut
    code: str
    retry_after: int


@dataclass
class Life:
    """One creator, and what they were told had happened."""

    account: Account
    answers: list[Answer] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    refreshes: list[str] = field(default_factory=list)
    renamed: list[int] = field(default_factory=list)
    renamings: int = 0
    call: Call = field(init=False)

    def live(self, call: Call, over: threading.Event) -> None:
        self.call = call
        while not over.is_set():
            if not self._round():
                over.wait(0.05)

    def _round(self) -> bool:
        """Sign in, refresh, take a new name, look at it; False as soon as anything else is answered."""
        body = {"email": self.account.email, "password": self.account.password}
        if not (reply := self._ask("POST", "login", body)):
            return False
        pair = reply.json()
        self.sessions.append(claim(pair["access"], "sid"))
        if not (reply := self._ask("POST", "refresh", {"refresh": pair["refresh"]})):
            return False
        pair = reply.json()
        self.refreshes.append(claim(pair["refresh"], "jti"))
        self.renamings += 1
        if not self._ask("PATCH", "me", {"display_name": f"{self.renamings}"}, token=pair["access"]):
            return False
        self.renamed.append(self.renamings)
        reply = self._ask("GET", "me", token=pair["access"])
        assert reply is None or reply.json()["email"] == self.account.email
        return reply is not None

    def _ask(self, method: str, path: str, body: Any = None, *, token: str = "") -> Reply | None:
        """The answer where it is 200; every other one is only noted."""
        began = time.monotonic()
        try:
            reply = self.call(method, path, body, token=token)
        except (OSError, http.client.HTTPException):
            reply = Reply(0, b"")
        wait = int(reply.headers.get("retry-after", 0))
        self.answers.append(Answer(began, time.monotonic() - began, reply.status, reply.code, wait))
        return reply if reply.status == 200 else None


@contextmanager
def load(lives: Sequence[Life], call: Call) -> Iterator[None]:
    """All of them live at once, each in a thread, until the block ends."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run(life: Life) -> None:
        try:
            life.live(call, over)
        except BaseException as error:  # noqa: BLE001  for whoever started us
            failed.append(error)

    threads = [threading.Thread(target=run, args=(life,)) for life in lives]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=60)
    if failed:
        raise failed[0]


def answers(lives: Sequence[Life]) -> list[Answer]:
    return sorted((answer for life in lives for answer in life.answers), key=lambda answer: answer.at)


def claim(token: str, name: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})[name])


def assert_books_balance(superuser: psycopg.Connection, lives: Sequence[Life]) -> None:
    """Nothing answered is lost, nothing is done twice, and no change is without its record."""

    def column(sql: str, *values: Any) -> list[Any]:
        return [value for (value,) in superuser.execute(sql.encode(), values)]

    cast = [life.account.id for life in lives]  # the book remembers others, too
    logins = (
        "SELECT detail->>'session' FROM audit_logs WHERE type = 'login.succeeded' AND creator_id = ANY(%s)"
    )
    sessions, recorded = column("SELECT id::text FROM sessions"), column(logins, cast)
    assert sorted(sessions) == sorted(recorded)  # both or neither, each once
    assert {one for life in lives for one in life.sessions} <= set(sessions)
    tokens = column("SELECT id::text FROM refresh_tokens")
    assert {one for life in lives for one in life.refreshes} <= set(tokens)
    assert not column("SELECT parent_id FROM refresh_tokens GROUP BY parent_id, creator_id "
                      "HAVING parent_id IS NOT NULL AND count(*) > 1")  # fmt: skip
    assert not column("SELECT id FROM refresh_tokens r WHERE used_at IS NOT NULL AND NOT EXISTS "
                      "(SELECT FROM refresh_tokens s WHERE s.parent_id = r.id)")  # fmt: skip
    for life in lives:
        (name,) = column("SELECT display_name FROM creators WHERE id = %s", life.account.id)
        changes = "SELECT count(*) FROM audit_logs WHERE type = 'profile.updated' AND creator_id = %s"
        (records,) = column(changes, life.account.id)
        assert len(life.renamed) <= records <= life.renamings
        assert int(name or 0) >= max(life.renamed, default=0)
