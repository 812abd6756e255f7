"""Which link works after which event: tests every cell of the table in docs/one-time-links.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core import mail
from django.test import Client

from accounts.models import EmailChangeToken, EmailVerificationToken, LinkToken, PasswordResetToken
from accounts.services.operators import justification, support
from accounts.tests.support.flows import sign_up
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias

TABLE = Path(__file__).resolve().parents[2] / "docs" / "one-time-links.md"
LINK = re.compile(r"/account/(verify-email|reset|email-change/undo|email-change)/([\w-]+)/([\w-]+)/")
KINDS = {"verify-email": "verify", "reset": "reset", "email-change": "change", "email-change/undo": "undo"}
TOKENS = {
    "verify": EmailVerificationToken,
    "reset": PasswordResetToken,
    "change": EmailChangeToken,
    "undo": EmailChangeToken,
}
NEW = "another lovely sentence of hers"
Link = tuple[str, str, str]  # kind, uid, token


class Ada:
    """An account, the actions of its owner, and the emails to all addresses.

    It works without a verified address, so that each kind of link can be combined with each event.
    """

    def __init__(self, run_jobs: Callable[[], int], superuser: psycopg.Connection) -> None:
        self.run_jobs, self.superuser = run_jobs, superuser
        self.api, self.browser = API(raise_request_exception=False), Client(raise_request_exception=False)
        self.email, self.password = f"ada-{uuid4().hex[:8]}@example.com", PASSWORD
        sign_up(self.api, self.email)
        self.new_link("verify", lambda: None)
        self.sign_in()
        me = self.api.get("me", token=self.access).json()
        self.id = me["id"]

    def sign_in(self) -> None:
        response = self.api.post("login", {"email": self.email, "password": self.password})
        assert response.status_code == 200, response.content
        self.access, self.refresh = response.json()["access"], response.json()["refresh"]

    def new_link(self, kind: str, request: Callable[[], Any]) -> Link:
        """The link that is mailed after `request`."""
        mail.outbox.clear()
        request()
        self.run_jobs()
        links = [match.groups() for message in mail.outbox for match in LINK.finditer(str(message.body))]
        (link,) = {link for link in links if KINDS[link[0]] == kind}
        return kind, link[1], link[2]

    def new_verify_link(self) -> Link:
        return self.new_link("verify", lambda: self.api.post("email/verify/resend", {"email": self.email}))

    def new_reset_link(self) -> Link:
        return self.new_link("reset", lambda: self.api.post("password/reset", {"email": self.email}))

    def new_change_link(self) -> Link:
        return self.new_link("change", self.request_change)

    def new_undo_link(self) -> Link:
        return self.new_link("undo", self.request_change)

    def request_change(self, to: str = "") -> None:
        body = {"new_email": to or f"new-{uuid4().hex[:8]}@example.com", "password": self.password}
        assert self.api.post("email/change", body, token=self.access).status_code == 202

    def use(self, link: Link) -> bool:
        """Whether the link did what it is for."""
        kind, uid, token = link
        body = {"uid": uid, "token": token}
        if kind == "undo":
            page = f"/account/email-change/undo/{uid}/{token}/"
            return self.browser.post(page, {"confirm": "on"}).status_code == 302
        path, more = {
            "verify": ("email/verify", {"password": self.password}),
            "reset": ("password/reset/confirm", {"new_password": NEW}),
            "change": ("email/change/confirm", {}),
        }[kind]
        return self.api.post(path, body | more).status_code in {200, 204}

    def move(self, to: str = "") -> Link:
        """Change the address and confirm it; returns the link that undoes it."""
        mail.outbox.clear()
        self.request_change(to)
        self.run_jobs()
        matches = [LINK.search(str(message.body)) for message in mail.outbox]
        links = {KINDS[match[1]]: (KINDS[match[1]], match[2], match[3]) for match in matches if match}
        assert self.use(links["change"])
        self.email = self.api.get("me", token=self.access).json()["email"]
        return links["undo"]

    def support(self, *actions: str) -> None:
        operator, client = uuid4(), ClientInfo()
        with using_alias(OPERATOR):
            ids: dict[str, Any] = {"creator_id": self.id, "operator_id": operator, "client": client}
            justification.record_justification(reason="ticket number 1234", **ids)
            for action in actions:
                assert support.perform(action, **ids), action


def _expire(ada: Ada, link: Link) -> None:
    table = TOKENS[link[0]]._meta.db_table
    ada.superuser.execute(f"UPDATE {table} SET expires_at = now() WHERE creator_id = %s".encode(), [ada.id])


def _sign_in_and_out(ada: Ada, link: Link) -> None:
    ada.sign_in()
    ada.refresh = ada.api.post("refresh", {"refresh": ada.refresh}).json()["refresh"]
    assert ada.api.post("logout", {"refresh": ada.refresh}).status_code == 204


def _change_password(ada: Ada, link: Link) -> None:
    body = {"current_password": ada.password, "new_password": NEW}
    assert ada.api.post("password/change", body, token=ada.access).status_code == 204
    ada.password = NEW


def _reset(ada: Ada, link: Link) -> None:
    assert ada.use(ada.new_reset_link())
    ada.password = NEW


def _fail(ada: Ada, link: Link) -> None:
    for _ in range(5):
        ada.api.post("login", {"email": ada.email, "password": "wrong"})


def _unlock(ada: Ada, link: Link) -> None:
    _fail(ada, link)
    ada.support("unlock")


def _use_another(ada: Ada, link: Link) -> None:
    assert ada.use(getattr(ada, f"new_{link[0]}_link")())
    ada.password = NEW if link[0] == "reset" else ada.password


def _undo_later(ada: Ada, link: Link) -> None:
    assert ada.use(ada.move())


def _undo_earlier(ada: Ada, kind: str) -> tuple[Link, Callable[[], Any]]:
    undo = ada.move()
    return _link(ada, kind), lambda: ada.use(undo)


def _move_back(ada: Ada, kind: str) -> tuple[Link, Callable[[], Any]]:
    before, undo = ada.email, ada.move()
    return (undo if kind == "undo" else _link(ada, kind)), lambda: ada.move(before)


def _link(ada: Ada, kind: str) -> Link:
    if kind == "verify":  # an account with a verified address gets no such link
        ada.superuser.execute("UPDATE creators SET email_verified_at = NULL WHERE id = %s", [ada.id])
    link: Link = getattr(ada, f"new_{kind}_link")()
    return link


def _delete(ada: Ada, link: Link) -> None:
    assert ada.api.post("me/delete", {"password": ada.password}, token=ada.access).status_code == 204


def _request_three_times(ada: Ada, link: Link) -> None:
    for _ in range(3):
        getattr(ada, f"new_{link[0]}_link")()


# events after the link was issued
EVENTS: dict[str, Callable[[Ada, Link], Any]] = {
    "nothing": lambda ada, link: None,
    "its own use": lambda ada, link: ada.use(link) or pytest.fail("the link never worked"),
    "its time is over": _expire,
    "another link of the kind is requested": lambda ada, link: getattr(ada, f"new_{link[0]}_link")(),
    "its kind is requested three more times": _request_three_times,
    "another link of the kind is used": _use_another,
    "signed in, refreshed and signed out": _sign_in_and_out,
    "signed out everywhere": lambda ada, link: ada.api.post("logout/all", token=ada.access),
    "password changed": _change_password,
    "password reset": _reset,
    "five wrong passwords at the sign-in": _fail,
    "display name changed": lambda ada, link: ada.api.patch("me", {"display_name": "A"}, token=ada.access),
    "change of address requested": lambda ada, link: ada.request_change(),
    "change of address confirmed": lambda ada, link: ada.move(),
    "later change of address undone": _undo_later,
    "support ends a lock": _unlock,
    "support ends all sessions": lambda ada, link: ada.support("end_sessions"),
    "support sends a reset link": lambda ada, link: ada.support("send_reset"),
    "support marks the address as verified": lambda ada, link: ada.support("mark_verified"),
    "deactivated": lambda ada, link: ada.support("deactivate"),
    "deactivated and reactivated": lambda ada, link: ada.support("deactivate", "reactivate"),
    "deleted": _delete,
}
# events that start before the link is issued: returns the link, and a function for the rest of the event
SPANNING_EVENTS: dict[str, Callable[[Ada, str], tuple[Link, Callable[[], Any]]]] = {
    "earlier change of address undone": _undo_earlier,
    "address moved back to that of before": _move_back,
}


def _table() -> dict[str, dict[str, str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLE.read_text().partition("## What each event")[2].splitlines()
        if line.startswith("| ")
    ]
    header, *body = rows
    return {event: dict(zip(header[1:], cells, strict=True)) for event, *cells in body}


CELLS = _table()


@pytest.fixture
def ada(api: API, run_jobs: Any, superuser: psycopg.Connection, settings: Any) -> Callable[[], Ada]:
    settings.REQUIRE_EMAIL_VERIFICATION = False
    return lambda: Ada(run_jobs, superuser)


def test_table_has_all_links_and_events() -> None:
    assert set(TOKENS.values()) == set(LinkToken.__subclasses__())
    assert {purpose.value for purpose in EmailChangeToken.Purpose} == {"confirm", "undo"}
    assert set(CELLS) == EVENTS.keys() | SPANNING_EVENTS.keys()
    assert all(set(row) == set(TOKENS) for row in CELLS.values())


@pytest.mark.parametrize("event", CELLS)
def test_link_is_as_the_table_says_after_the_event(event: str, ada: Callable[[], Ada]) -> None:
    for kind, cell in CELLS[event].items():
        expected = cell.strip("¹²")
        if expected not in {"alive", "dead"}:
            continue
        owner = ada()
        if event in SPANNING_EVENTS:
            link, finish = SPANNING_EVENTS[event](owner, kind)
            finish()
        else:
            link = _link(owner, kind)
            EVENTS[event](owner, link)
        assert ("alive" if owner.use(link) else "dead") == expected, kind
