"""Creates and signs in accounts for tests: Ada is the owner, Bob another tenant."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.models import Creator
from accounts.services import lockout, password_hashing, sessions
from accounts.tokens.jwt import TokenPair
from audit.requests.client_info import ClientInfo
from tenancy.context import OPERATOR, tenant_scope, using_alias

PASSWORD = "a lovely sentence of Ada's"


@dataclass
class Person:
    """An account, and its tokens after `sign_in`."""

    id: UUID
    email: str
    password: str = PASSWORD
    tokens: TokenPair | None = None

    @property
    def access(self) -> str:
        assert self.tokens
        return self.tokens.access

    @property
    def refresh(self) -> str:
        assert self.tokens
        return self.tokens.refresh


def make_creator(email: str, *, password: str = PASSWORD, **fields: Any) -> Person:
    """Create a verified creator, as the operator role. `password` may also be an encoded hash."""
    fields = {"holds_email": True, "email_verified_at": timezone.now(), "display_name": "", **fields}
    encoded = password if password.count("$") > 2 else password_hashing.hash_password(password)
    with using_alias(OPERATOR):
        creator = Creator.objects.create(email=email, password=encoded, **fields)
    return Person(creator.pk, email, password)


def sign_in(person: Person) -> Person:
    """Start a session without a request."""
    now = timezone.now()
    new = sessions.new_session(creator_id=person.id, client=ClientInfo(), now=now)
    with tenant_scope(person.id):
        start = sessions.start_session(new)
    assert start
    person.tokens = sessions.token_pair(start.token, now=now)
    return person


def no_lockout(settings: Any) -> None:
    """Disable the lockout, for tests that send many wrong passwords."""
    settings.MAX_FAILED_LOGIN_ATTEMPTS = 1_000_000
    with using_alias(OPERATOR):
        lockout.store_limits()
