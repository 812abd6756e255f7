"""Signing in with e-mail and password."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connections
from django.utils import timezone

from accounts.addresses import canonical_email
from accounts.exceptions import InvalidCredentialsError
from accounts.models import Creator, SecurityNotice, Session
from accounts.services import lockout, notices, passwords, sessions
from accounts.tokens import TokenPair
from audit.book import NO_TENANT, record
from audit.clients import Client
from audit.devices import device_of
from audit.events import Event
from tenancy.context import current_alias, tenant_scope


@dataclass(frozen=True)
class _Account:
    id: UUID
    password: str


def log_in(*, email: str, password: str, client: Client) -> TokenPair:
    """A new session for the creator.

    Raises:
        InvalidCredentialsError: whatever it is that does not fit.
        AccountLockedError, RateLimitedError: the password was not looked at.

    """
    email = canonical_email(email)
    while True:
        account = _find(email)
        outcome = lockout.verify_password(
            email=email, password=password, encoded=account.password if account else None
        )
        if account is None or not outcome.verdict.is_right:
            _refuse(email, account, outcome.locked_until, client)
            raise InvalidCredentialsError
        pair = _admit(account, password if outcome.verdict.needs_upgrade else None, client)
        if pair is not None:
            return pair


def find_creator(email: str) -> UUID | None:
    """The id of the account that holds a canonical address; the only look across tenants."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute("SELECT find_creator(%s)", [email])
        (creator_id,) = cursor.fetchone()
    return creator_id if creator_id is None else UUID(str(creator_id))


def _find(email: str) -> _Account | None:
    """An account that may sign in. Staff are out of the app role's sight; deactivated ones of ours."""
    creator_id = find_creator(email)
    with tenant_scope(creator_id or NO_TENANT):
        row = (
            Creator.objects.filter(pk=creator_id or NO_TENANT, is_active=True, holds_email=True)
            .values_list("id", "password")
            .first()
        )
    return _Account(*row) if row else None


def _refuse(email: str, account: _Account | None, locked_until: datetime | None, client: Client) -> None:
    """For an unknown address the same rows are written, to nobody's name."""
    creator_id = account.id if account else NO_TENANT
    with tenant_scope(creator_id):
        record(Event.LOGIN_FAILED, client=client, creator_id=creator_id, email=email)
        if locked_until:
            notices.report_lock(email=email, creator_id=creator_id, until=locked_until, client=client)


def _is_new_device(creator_id: UUID, client: Client) -> bool:
    """Somebody has signed in before, but never from such a device."""
    before = Session.objects.filter(creator_id=creator_id)
    return before.exists() and not before.filter(device=device_of(client)).exists()


def _admit(account: _Account, upgrade: str | None, client: Client) -> TokenPair | None:
    """None where the password is not the one that was looked at any more: a reset that finished in the
    meantime has ended all sessions, and none may begin behind its back.
    """
    now = timezone.now()
    facts = {"last_login": now, "password": passwords.hashed(upgrade) if upgrade else account.password}
    with tenant_scope(account.id):
        unchanged = Creator.objects.filter(
            pk=account.id, password=account.password, is_active=True, holds_email=True
        )
        if not unchanged.update(**facts):
            return None
        if upgrade:
            record(Event.PASSWORD_UPGRADED, client=client, creator_id=account.id)
        if _is_new_device(account.id, client):
            notices.add(SecurityNotice.Kind.NEW_DEVICE, creator_id=account.id, client=client)
        refresh = sessions.start_session(creator_id=account.id, client=client, now=now)
        record(Event.LOGIN_SUCCEEDED, client=client, creator_id=account.id, session=str(refresh.session_id))
    return sessions.token_pair(refresh, now=now)
