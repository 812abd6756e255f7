"""The execution plans of an endpoint's statements."""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from django.db import connections

from config.tests.support.accounts import PASSWORD, make_creator, sign_in
from config.tests.support.client import API
from config.tests.support.dataset import populate
from config.tests.support.operators import enter, make_operator

Calls = dict[str, Callable[[], Any]]


class Doors:
    """What is called all day: Ada's calls, a visitor's and Olga's, each with its usual answer."""

    def __init__(self, at: str = "example.com") -> None:
        self.api, self.olga = API(), enter(make_operator(f"olga@{at}"))
        self.ada = sign_in(make_creator(f"ada@{at}", display_name="Ada"))
        opened = self.api.post("/api/v1/end-users/sessions", {"creator": str(self.ada.id)}).json()
        self.visitor, self.pair = opened["session"], {"refresh": self.ada.refresh}

    def calls(self, number: int) -> Calls:
        """`number` is of a creator whom the population has."""
        get, post, ada, others = self.api.get, self.api.post, self.ada, itertools.count(number)
        return {
            "sign in": lambda: post("login", {"email": ada.email, "password": PASSWORD}),
            "wrong password": lambda: post("login", {"email": f"person-{next(others)}@example.com", "password": "x"}),
            "refresh": self.refresh,
            "who am I": lambda: get("me", token=ada.access),
            "profile": lambda: self.api.patch("me", {"display_name": "A"}, token=ada.access),
            "sessions": lambda: get("sessions", token=ada.access),
            "sign up": lambda: post("register", {"email": "zoe@example.com", "password": PASSWORD}),
            "ask for a reset": lambda: post("password/reset", {"email": ada.email}),
            "own events": lambda: get("/api/v1/audit/events", token=ada.access),
            "own events of a type": lambda: get("/api/v1/audit/events?type=token.reused", token=ada.access),
            "visitor": lambda: get("/api/v1/end-users/sessions/current", token=self.visitor),
            "visitors": lambda: get("/api/v1/end-users/sessions", token=ada.access),
            "new visitor": lambda: post("/api/v1/end-users/sessions", {"creator": str(ada.id)}),
            "operator finds an address": lambda: self.olga.get(f"/admin/accounts/creator/?q=person-{number}@example.com"),
            "operator lists events": lambda: self.olga.get("/admin/audit/auditlog/"),
            "operator finds a creator's events": lambda: self.olga.get(f"/admin/audit/auditlog/?creator={ada.id}"),
            "operator finds an address's events": lambda: self.olga.get("/admin/audit/auditlog/?address=198.51.100.2"),
        }  # fmt: skip

    def refresh(self) -> Any:
        response = self.api.post("refresh", self.pair)
        self.pair = {"refresh": response.json()["refresh"]}
        return response


def fill(superuser: psycopg.Connection, creators: int, already: int = 0) -> None:
    superuser.execute("SET session_replication_role = replica")  # no foreign keys: twice as quick
    populate(superuser, creators=creators, already=already)
    superuser.execute("RESET session_replication_role")
    superuser.execute("VACUUM ANALYZE")


@contextmanager
def explained() -> Iterator[list[tuple[str, str]]]:
    """Each statement with its plan, as it was when it ran: by its role, under its policies."""
    found: list[tuple[str, str]] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r"(WITH|SELECT|UPDATE|DELETE)\b", sql) and not many:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                found.append((sql, "\n".join(line for (line,) in cursor.fetchall())))
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for alias in ("default", "operator"):
            stack.enter_context(connections[alias].execute_wrapper(explain))
        yield found


def scans(superuser: psycopg.Connection) -> dict[str, int]:
    """Table → how often it was read from end to end, of those that are full. Functions are no hiding place."""
    for alias in ("default", "operator"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
    rows = superuser.execute("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE n_live_tup > 500")
    return dict(rows.fetchall())


def findings(superuser: psycopg.Connection, number: int) -> dict[str, Any]:
    """Call → tables that it read from end to end, and the statements that may have done it."""
    wrong: dict[str, Any] = {}
    for name, call in Doors().calls(number).items():
        before = scans(superuser)
        with explained() as plans:
            response = call()
        assert response.status_code in {200, 201, 202, 401}, (name, response.content)
        read = [table for table, count in scans(superuser).items() if count > before.get(table, 0)]
        if read:
            wrong[name] = (
                read,
                [one for one in plans if any(f"Seq Scan on {table}" in one[1] for table in read)],
            )
    return wrong
