"""A model of account theft: an attacker and the owner take steps in any order, then the owner recovers the account.

- Mallory knows the password that Ada has at the start, has a session, and reads the mailboxes MALLORYS.
- Ada reads the mailboxes ADAS. The first of them is the address that her account has at the start.
- Support takes its actions for both.

The property: Ada resets her password; if no reset link arrives, she first undoes the earliest change of address.
Then **only Ada can use the account**, whatever Mallory has or does between the undo and the reset.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import mail

from accounts.exceptions import AccountsError
from accounts.models import Creator
from accounts.ratelimits import limits
from accounts.services import email_change, login, password_change, password_reset, refresh, sessions
from accounts.services.operators import justification, support
from accounts.sql import Caller
from accounts.tokens.jwt import AccessToken, TokenPair
from audit.requests.client_info import ClientInfo
from config.tests.support.accounts import PASSWORD, make_creator, no_lockout
from tenancy.context import OPERATOR, using_alias

LINK = re.compile(r"/account/(reset|email-change/undo|email-change)/([\w-]+)/([\w-]+)/")
CLIENT = ClientInfo(ip_address="127.0.0.1")
NUMBERS = count()
ADAS, MALLORYS = ("ada", "ada.work"), ("mallory", "mallory.second")


@dataclass
class Party:
    """What Ada or Mallory has: passwords, sessions, and the links in the mailboxes, oldest first."""

    name: str
    addresses: list[str]
    passwords: list[str]
    sessions: list[TokenPair] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)  # kind, uid, token

    def new_password(self) -> str:
        return f"{self.name}'s sentence number {next(NUMBERS)}"


class Case:
    """One account and both parties; each method is a step, and returns whether it succeeded."""

    def __init__(self, run_jobs: Callable[[], int]) -> None:
        self.run_jobs, number = run_jobs, next(NUMBERS)
        self.ada, self.mallory = (
            Party(name, [f"{box}-{number}@example.com" for box in boxes], [PASSWORD])
            for name, boxes in (("Ada", ADAS), ("Mallory", MALLORYS))
        )
        mail.outbox.clear()
        self.id: UUID = make_creator(self.ada.addresses[0]).id
        for party in (self.ada, self.mallory):
            assert self.sign_in(party)

    def _try(self, step: Callable[[], Any]) -> bool:
        """Take the step and deliver its emails."""
        try:
            step()
        except AccountsError:
            return False
        self._deliver()
        return True

    def _deliver(self) -> None:
        self.run_jobs()
        for message in mail.outbox:
            party = self.ada if message.to[0] in self.ada.addresses else self.mallory
            party.links += [(link[1], link[2], link[3]) for link in LINK.finditer(str(message.body))][:1]
        mail.outbox.clear()

    def address(self) -> str:
        with using_alias(OPERATOR):
            return Creator.objects.get(pk=self.id).email

    def _caller(self, party: Party) -> Caller:
        """The caller of the newest valid session; raises AccountsError without one."""
        for pair in reversed(party.sessions):
            if caller := caller_by(pair):
                return caller
        raise AccountsError

    def sign_in(self, party: Party) -> bool:
        def step() -> None:
            pair = login.log_in(email=self.address(), password=party.passwords[-1], client=CLIENT)
            party.sessions.append(pair)

        return self._try(step)

    def refresh(self, party: Party) -> bool:
        def step() -> None:
            newest = party.sessions.pop()
            party.sessions.append(refresh.refresh_session(refresh=newest.refresh, client=CLIENT))

        return bool(party.sessions) and self._try(step)

    def request_change(self, party: Party, to: str) -> bool:
        password = party.passwords[-1]
        return self._try(
            lambda: email_change.request_change(
                self._caller(party), new_email=to, password=password, client=CLIENT
            )
        )

    def change_password(self, party: Party) -> bool:
        old = party.passwords[-1]

        def step() -> None:
            caller, new = self._caller(party), party.new_password()
            password_change.change_password(caller, current_password=old, new_password=new, client=CLIENT)
            party.passwords.append(new)

        return self._try(step)

    def log_out_everywhere(self, party: Party) -> bool:
        return self._try(
            lambda: sessions.log_out_everywhere(creator_id=self._caller(party).id, client=CLIENT)
        )

    def request_reset(self, email: str) -> bool:
        return self._try(lambda: password_reset.request_reset(email=email, client=CLIENT))

    def support_acts(self, *actions: str) -> bool:
        ids: dict[str, Any] = {"creator_id": self.id, "operator_id": uuid4(), "client": CLIENT}
        with using_alias(OPERATOR):
            justification.record_justification(reason="ticket number 1234", **ids)
            done = [support.perform(action, **ids) for action in actions]
        self._deliver()
        return all(done)

    def use(self, party: Party, link: tuple[str, str, str]) -> bool:
        kind, uid, token = link
        client: dict[str, Any] = {"uid": uid, "token": token, "client": CLIENT}
        if kind == "email-change":
            return self._try(lambda: email_change.confirm_change(**client))
        if kind == "email-change/undo":

            def undo() -> None:
                link = email_change.undo_change(**client)
                party.links.append(("reset", link.uid, link.token))

            return self._try(undo)
        new = party.new_password()
        done = self._try(lambda: password_reset.reset_password(new_password=new, **client))
        if done:
            party.passwords.append(new)
        return done

    def recover(self, *, undo_first: bool, before_reset: Callable[[], None]) -> None:
        """Ada's steps: undo the earliest change that she can, then reset the password.

        `before_reset` takes Mallory's steps between the two.
        """
        undone = False
        if undo_first or not self._reset_link_arrives(self.ada.addresses[0]):
            undos = [link for link in self.ada.links if link[0] == "email-change/undo"]
            undone = any(self.use(self.ada, link) for link in undos)
        assert self.address() in self.ada.addresses, "Ada's links don't restore her address"
        if undone:
            link = self.ada.links[-1]
            before_reset()
        else:
            assert self._reset_link_arrives(self.address())
            link = self.ada.links[-1]
        assert self.use(self.ada, link)
        assert self.sign_in(self.ada)

    def _reset_link_arrives(self, email: str) -> bool:
        before = len(self.ada.links)
        self.request_reset(email)
        return any(link[0] == "reset" for link in self.ada.links[before:])

    def assert_ada_alone(self) -> None:
        """Nothing that Mallory has gives access to the account or changes its address."""
        address, mallory = self.address(), self.mallory
        assert address in self.ada.addresses
        for _ in range(2):
            assert [pair for pair in mallory.sessions if caller_by(pair)] == []
            assert not self.refresh(mallory)
            assert [link for link in list(mallory.links) if self.use(mallory, link)] == []
            for email in mallory.addresses:
                before = len(mallory.links)
                self.request_reset(email)
                assert len(mallory.links) == before
            assert not any(self._can_log_in(address, password) for password in mallory.passwords)
        assert self.address() == address
        assert self.sign_in(self.ada)

    def _can_log_in(self, email: str, password: str) -> bool:
        return self._try(lambda: login.log_in(email=email, password=password, client=CLIENT))


def caller_by(pair: TokenPair) -> Caller | None:
    try:
        return sessions.caller_of(AccessToken.verified(pair.access))
    except AccountsError:
        return None


def move(case: Case, party: Party, to: str) -> bool:
    """Request a change and confirm it."""
    return case.request_change(party, to) and confirm(case, case.ada) | confirm(case, case.mallory)


def confirm(case: Case, party: Party) -> bool:
    links = [link for link in party.links if link[0] == "email-change"]
    return bool(links) and case.use(party, links[-1])


def undo(case: Case, party: Party, index: int) -> bool:
    links = [link for link in party.links if link[0] == "email-change/undo"]
    return bool(links) and case.use(party, links[index])


def use_reset_link(case: Case, party: Party) -> bool:
    links = [link for link in party.links if link[0] == "reset"]
    return bool(links) and case.use(party, links[-1])


def reset_at(case: Case, party: Party) -> bool:
    return case.request_reset(case.address()) and use_reset_link(case, party)


def _steps_of(name: str) -> dict[str, Callable[[Case], bool]]:
    """The steps of Ada or Mallory; the addresses are those of the party."""

    steps: dict[str, Callable[[Case, Party], bool]] = {
        "signs in": Case.sign_in,
        "refreshes": Case.refresh,
        "moves to the first address": lambda case, party: move(case, party, party.addresses[0]),
        "moves to the second address": lambda case, party: move(case, party, party.addresses[1]),
        "requests a change to the first address": lambda case, party: case.request_change(party, party.addresses[0]),
        "requests a change to the second address": lambda case, party: case.request_change(party, party.addresses[1]),
        "confirms a change": confirm,
        "undoes the first change": lambda case, party: undo(case, party, 0),
        "undoes the last change": lambda case, party: undo(case, party, -1),
        "requests a reset": lambda case, party: case.request_reset(case.address()),
        "uses a reset link": use_reset_link,
        "resets the password": reset_at,
        "changes the password": Case.change_password,
        "signs out everywhere": Case.log_out_everywhere,
    }  # fmt: skip

    def bind(step: Callable[[Case, Party], bool]) -> Callable[[Case], bool]:
        return lambda case: step(case, case.ada if name == "Ada" else case.mallory)

    return {f"{name} {action}": bind(step) for action, step in steps.items()}


STEPS: dict[str, Callable[[Case], bool]] = {
    **_steps_of("Ada"),
    **_steps_of("Mallory"),
    "Support ends all sessions": lambda case: case.support_acts("end_sessions"),
    "Support sends a reset link": lambda case: case.support_acts("send_reset"),
    "Support deactivates and reactivates": lambda case: case.support_acts("deactivate", "reactivate"),
}


# A request for a reset is left out: it would be the newest link in Ada's mailbox, which she then uses.
STEPS_BEFORE_RESET = [
    name for name in STEPS if name.startswith(("Mallory", "Support ends", "Support deactivates"))
]


def assert_ada_recovers(
    case: Case, names: Sequence[str], *, undo_first: bool, between: Sequence[str] = ()
) -> None:
    def before_reset() -> None:
        case.sign_in(case.mallory)
        for name in between:
            STEPS[name](case)

    for name in names:
        STEPS[name](case)
    case.recover(undo_first=undo_first, before_reset=before_reset)
    case.assert_ada_alone()


@pytest.fixture
def case(run_jobs: Callable[[], int], settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Case]:
    """Lockout and email limits are off: they would only hinder the attacker."""
    no_lockout(settings)
    for name in ("MAILS_FROM_ONE_NETWORK", "MAILS_TO_ONE_ADDRESS"):
        monkeypatch.setattr(limits, name, 1_000_000)
    return lambda: Case(run_jobs)
