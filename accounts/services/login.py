"""Signing in with e-mail and password."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connections
from django.utils import timezone

from accounts.addresses import canonical_email
from accounts.exceptions import InvalidCredentialsError
from accounts.models import Creator
from accounts.services import passwords, sessions
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

    """
    email = canonical_email(email)
    account = _find(email)
    verdict = passwords.verify(password, account.password if account else None)
    if account is None or not verdict.is_right:
        creator_id = account.id if account else None
        record(Event.LOGIN_FAILED, client=client, creator_id=creator_id, email=email)
        raise InvalidCredentialsError
    return _admit(account, password if verdict.needs_upgrade else None, client)


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


def _admit(account: _Account, upgrade: str | None, client: Client) -> TokenPair:
    new_hash = passwords.hashed(upgrade) if upgrade is not None else None
    now = timezone.now()
    with tenant_scope(account.id):
        creator = Creator.objects.filter(pk=account.id)
        # a password changed in the meantime stays
        if new_hash and creator.filter(password=account.password).update(password=new_hash):
            record(Event.PASSWORD_UPGRADED, client=client, creator_id=account.id)
        creator.update(last_login=now)
        refresh = sessions.start_session(creator_id=account.id, client=client, now=now)
        record(Event.LOGIN_SUCCEEDED, client=client, creator_id=account.id, session=str(refresh.session_id))
    return sessions.token_pair(refresh, now=now)
