"""The accounts of the smoke test, and its links (it cannot read emails)."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from axes.models import AccessAttempt
from django.db.models import QuerySet
from django_tasks_db.models import DBTaskResult

from accounts import link_tokens
from accounts.mail.links import issue_change_link, issue_reset_link, issue_verification_link
from accounts.models import ApiKey, Creator, EmailChange, EmailChangeToken, EmailVerificationToken
from accounts.services.api_keys import create_api_key

from .client import CheckFailed, require

DOMAIN = "smoke.invalid"  # undeliverable (RFC 2606)
WORKER_SECONDS = 20  # to wait for an email


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
        require(self.pair, f"{self.email} is not signed in")
        return str(self.pair["access"])

    @property
    def refresh(self) -> str:
        require(self.pair, f"{self.email} is not signed in")
        return str(self.pair["refresh"])

    def creator(self) -> Creator:
        creator = Creator.objects.filter(email=self.email).first()
        if creator is None:
            raise CheckFailed(f"the sign-up of {self.email} is not in the database")
        return creator


@dataclass
class SmokeAccounts:
    """Ada and Bob sign up. `new_email` is Ada's after its change; `unknown_email` has no account."""

    ada: SmokeAccount = field(default_factory=lambda: SmokeAccount(_address("ada")))
    bob: SmokeAccount = field(default_factory=lambda: SmokeAccount(_address("bob")))
    unknown_email: str = field(default_factory=lambda: _address("unknown"))
    new_email: str = field(default_factory=lambda: _address("ada-new"))
    key_name: str = field(default_factory=lambda: f"smoke {secrets.token_hex(8)}")

    def __post_init__(self) -> None:
        self.addresses = [self.ada.email, self.bob.email, self.unknown_email, self.new_email]

    def create_api_key(self) -> str:
        return str(create_api_key(self.key_name))

    def delete(self) -> None:
        """Delete all rows that the smoke test made, except audit events."""
        creators = Creator.objects.filter(email__in=self.addresses)
        creators._raw_delete(creators.db)  # the database cascades
        ApiKey.objects.filter(name=self.key_name).delete()
        AccessAttempt.objects.filter(username__in=self.addresses).delete()
        for address in self.addresses:
            DBTaskResult.objects.filter(args_kwargs__args__contains=[address]).delete()


def verification_link(account: SmokeAccount) -> link_tokens.Link:
    return issue_verification_link(account.creator())


def reset_link(account: SmokeAccount) -> link_tokens.Link:
    return issue_reset_link(account.creator())


def wait_for_mail(account: SmokeAccount) -> None:
    """Wait for the token that the worker issues when it writes the email."""
    _wait_for_row(EmailVerificationToken.objects.filter(creator=account.creator()))


def change_links(account: SmokeAccount) -> tuple[link_tokens.Link, link_tokens.Link]:
    """New links to confirm and to undo the pending change of address."""
    creator = account.creator()
    _wait_for_row(EmailChangeToken.objects.filter(creator=creator, purpose=EmailChangeToken.Purpose.UNDO))
    change = EmailChange.objects.get(creator=creator, confirmed_at=None, superseded_at=None)
    confirm = issue_change_link(change, EmailChangeToken.Purpose.CONFIRM, change.expires_at)
    undo = issue_change_link(change, EmailChangeToken.Purpose.UNDO, change.undo_expires_at)
    return confirm, undo


def _wait_for_row(rows: QuerySet) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    while not rows.exists():
        if time.monotonic() > deadline:
            raise CheckFailed(f"no email was written in {WORKER_SECONDS} s: is the worker running?")
        time.sleep(0.2)
