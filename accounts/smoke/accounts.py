"""Whom the smoke test plays, the links it makes instead of reading mail, and how all of it goes away."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from axes.models import AccessAttempt
from django_tasks_db.models import DBTaskResult

from accounts import link_tokens
from accounts.mail.links import issue_change_link, issue_reset_link, issue_verification_link
from accounts.models import ApiKey, Creator, EmailChange, EmailChangeToken, EmailVerificationToken
from accounts.services.api_keys import create_api_key

from .client import require

DOMAIN = "smoke.invalid"  # RFC 2606: no mail can reach it
WORKER_SECONDS = 20  # for the worker to write a mail


def _address(name: str) -> str:
    return f"{name}-{secrets.token_hex(8)}@{DOMAIN}"


def _password() -> str:
    return f"smoke {secrets.token_urlsafe(24)}"


@dataclass
class SmokeAccount:
    email: str
    password: str = field(default_factory=_password, repr=False)
    pair: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def access(self) -> str:
        require(self.pair, "nobody could sign in")
        return str(self.pair["access"])

    @property
    def refresh(self) -> str:
        require(self.pair, "nobody could sign in")
        return str(self.pair["refresh"])

    def row(self) -> Creator:
        row = Creator.objects.filter(email=self.email).first()
        require(row, f"the sign-up of {self.email} is not in the database")
        assert row is not None  # noqa: S101  for the type
        return row


@dataclass
class SmokeAccounts:
    """Ada and Bob sign up; the addresses are known to nobody else. `key` is a resource server's."""

    ada: SmokeAccount = field(default_factory=lambda: SmokeAccount(_address("ada")))
    bob: SmokeAccount = field(default_factory=lambda: SmokeAccount(_address("bob")))
    stranger: str = field(default_factory=lambda: _address("stranger"))
    new_address: str = field(default_factory=lambda: _address("ada-anew"))
    key_name: str = field(default_factory=lambda: f"smoke {secrets.token_hex(8)}")

    def __post_init__(self) -> None:
        self.addresses = [self.ada.email, self.bob.email, self.stranger, self.new_address]

    def make_key(self) -> str:
        return str(create_api_key(self.key_name))

    def leave(self) -> None:
        """Nothing of theirs stays but the audit rows."""
        creators = Creator.objects.filter(email__in=self.addresses)
        creators._raw_delete(creators.db)  # the database cascades
        ApiKey.objects.filter(name=self.key_name).delete()
        AccessAttempt.objects.filter(username__in=self.addresses).delete()
        for address in self.addresses:
            DBTaskResult.objects.filter(args_kwargs__args__contains=[address]).delete()


def verification_link(person: SmokeAccount) -> link_tokens.Link:
    return issue_verification_link(person.row())


def reset_link(person: SmokeAccount) -> link_tokens.Link:
    return issue_reset_link(person.row())


def wait_for_mail(person: SmokeAccount) -> None:
    """The worker mints a token of its own when it writes the mail."""
    tokens = EmailVerificationToken.objects.filter(creator=person.row())
    require(_happens(tokens.exists), f"no mail was written in {WORKER_SECONDS} s: does the worker run?")


def change_links(person: SmokeAccount) -> tuple[link_tokens.Link, link_tokens.Link]:
    """Links to confirm and to undo the pending change of address, beside those that the worker mailed."""
    written = EmailChangeToken.objects.filter(creator=person.row(), purpose=EmailChangeToken.Purpose.UNDO)
    require(_happens(written.exists), f"no mail was written in {WORKER_SECONDS} s: does the worker run?")
    change = EmailChange.objects.get(creator=person.row(), confirmed_at=None, superseded_at=None)
    confirm = issue_change_link(change, EmailChangeToken.Purpose.CONFIRM, change.expires_at)
    undo = issue_change_link(change, EmailChangeToken.Purpose.UNDO, change.undo_expires_at)
    return confirm, undo


def _happens(fact: Any) -> bool:
    deadline = time.monotonic() + WORKER_SECONDS
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
