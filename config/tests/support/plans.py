"""The frequent calls of the service, and which of their statements scan a table sequentially."""

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
from config.tests.support.operators import make_operator, sign_in_operator

Calls = dict[str, Callable[[], Any]]


class FrequentCalls:
    """Frequent calls of Ada, of her end user and of Olga, an operator."""

    def __init__(self, domain: str = "example.com") -> None:
        self.api, self.olga = API(), sign_in_operator(make_operator(f"olga@{domain}"))
        self.ada = sign_in(make_creator(f"ada@{domain}", display_name="Ada"))
        opened = self.api.post("/api/v1/end-users/sessions", {"creator": str(self.ada.id)}).json()
        self.end_user, self.pair = opened["session"], {"refresh": self.ada.refresh}

    def calls(self, number: int) -> Calls:
        """`number` is that of a creator in the data set."""
        get, post, ada, others = self.api.get, self.api.post, self.ada, itertools.count(number)
        return {
            "sign in": lambda: post("login", {"email": ada.email, "password": PASSWORD}),
            "wrong password": lambda: post("login", {"email": f"person-{next(others)}@example.com", "password": "x"}),
            "refresh": self.refresh,
            "profile": lambda: get("me", token=ada.access),
            "change profile": lambda: self.api.patch("me", {"display_name": "A"}, token=ada.access),
            "sessions": lambda: get("sessions", token=ada.access),
            "sign up": lambda: post("register", {"email": "zoe@example.com", "password": PASSWORD}),
            "ask for a reset": lambda: post("password/reset", {"email": ada.email}),
            "own events": lambda: get("/api/v1/audit/events", token=ada.access),
            "own events of a type": lambda: get("/api/v1/audit/events?type=token.reused", token=ada.access),
            "end user": lambda: get("/api/v1/end-users/sessions/current", token=self.end_user),
            "end users": lambda: get("/api/v1/end-users/sessions", token=ada.access),
            "new end user": lambda: post("/api/v1/end-users/sessions", {"creator": str(ada.id)}),
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
    superuser.execute(
        "SET session_replication_role = replica"
    )  # skips the foreign keys, which halves the time
    populate(superuser, creators=creators, already=already)
    superuser.execute("RESET session_replication_role")
    superuser.execute("VACUUM ANALYZE")


@contextmanager
def explaining() -> Iterator[list[tuple[str, str]]]:
    """Collects (statement, plan) of the statements in the block, planned as their role with its RLS policies."""
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


def sequential_scans(superuser: psycopg.Connection) -> dict[str, int]:
    """Table → number of sequential scans, including those inside functions; only tables with many rows."""
    for alias in ("default", "operator"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
    rows = superuser.execute("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE n_live_tup > 500")
    return dict(rows.fetchall())


def calls_without_index(superuser: psycopg.Connection, number: int) -> dict[str, Any]:
    """Call → tables that it scanned sequentially, and the statements that may have done it."""
    found: dict[str, Any] = {}
    for name, call in FrequentCalls().calls(number).items():
        before = sequential_scans(superuser)
        with explaining() as plans:
            response = call()
        assert response.status_code in {200, 201, 202, 401}, (name, response.content)
        scanned = [
            table for table, count in sequential_scans(superuser).items() if count > before.get(table, 0)
        ]
        if scanned:
            found[name] = (
                scanned,
                [plan for plan in plans if any(f"Seq Scan on {table}" in plan[1] for table in scanned)],
            )
    return found
