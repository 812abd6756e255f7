"""Signing in with e-mail and password."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connections
from django.utils import timezone

from accounts.addresses import canonical_email
from accounts.devices import device_of
from accounts.exceptions import InvalidCredentialsError
from accounts.models import Creator, SecurityNotice, Session
from accounts.services import lockout, notices, passwords, sessions
from accounts.tokens import TokenPair
from audit.book import NO_TENANT, record
from audit.clients import Client
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
    account = _find(email)
    outcome = lockout.verify_password(
        email=email, password=password, encoded=account.password if account else None
    )
    if account is None or not outcome.verdict.is_right:
        _refuse(email, account, outcome.locked_until, client)
        raise InvalidCredentialsError
    return _admit(account, password if outcome.verdict.needs_upgrade else None, client)


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
            Creator.objects.filter(pk=creator_id or NO_TENANT, is_active=True)
            .values_list("id", "password")
            .first()
        )
    return _Account(*row) if row else None


def _refuse(email: str, account: _Account | None, locked_until: datetime | None, client: Client) -> None:
    """For an unknown address the same rows are written, to nobody's name."""
    creator_id = account.id if account else NO_TENANT
    with tenant_scope(creator_id):
        record(Event.LOGIN_FAILED, client=client, creator_id=creator_id, email=email)
        if locked_until and account:
            notices.report_lock(creator_id=creator_id, until=locked_until, client=client)
        elif locked_until:
            record(Event.ACCOUNT_LOCKED, client=client, creator_id=creator_id, email=email)


def _is_new_device(creator_id: UUID, client: Client) -> bool:
    """Somebody has signed in before, but never from such a device."""
    before = Session.objects.filter(creator_id=creator_id)
    return before.exists() and not before.filter(device=device_of(client)).exists()


def _admit(account: _Account, upgrade: str | None, client: Client) -> TokenPair:
    new_hash = passwords.hashed(upgrade) if upgrade is not None else None
    now = timezone.now()
    with tenant_scope(account.id):
        creator = Creator.objects.filter(pk=account.id)
        # a password changed in the meantime stays
        if new_hash and creator.filter(password=account.password).update(password=new_hash):
            record(Event.PASSWORD_UPGRADED, client=client, creator_id=account.id)
        creator.update(last_login=now)
        if _is_new_device(account.id, client):
            notices.add(SecurityNotice.Kind.NEW_DEVICE, creator_id=account.id, client=client)
        refresh = sessions.start_session(creator_id=account.id, client=client, now=now)
        record(Event.LOGIN_SUCCEEDED, client=client, creator_id=account.id, session=str(refresh.session_id))
    return sessions.token_pair(refresh, now=now)
