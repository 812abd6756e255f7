"""Signing in with email address and password."""

from uuid import UUID

from django.utils import timezone

from accounts import sql
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidCredentialsError
from accounts.models import SecurityNotice
from accounts.passwords.hashers import weak_bcrypt_cost
from accounts.tokens.jwt import TokenPair
from audit.events import Event
from audit.recorder import NO_TENANT, record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import lockout, notices, password_hashing, sessions


def log_in(*, email: str, password: str, client: ClientInfo) -> TokenPair:
    """Start a session for the creator.

    Raises:
        InvalidCredentialsError: for any reason; the client can't tell which.
        AccountLockedError, RateLimitedError: the password was not verified.

    """
    email = canonical_email(email)
    return password_hashing.retry_if_changed(lambda: _log_in(email, password, client))


def holder_of(email: str) -> UUID | None:
    """The account that holds a canonical address, so that its owner sees what was requested for it."""
    return sql.find_creator(address=email)


def _log_in(email: str, password: str, client: ClientInfo) -> TokenPair | None:
    """None if the account has another password hash by now than the one that was verified."""
    account = sql.find_account(address=email)  # neither deactivated nor staff
    encoded = account.password if account else None
    outcome = lockout.verify_password(email=email, password=password, encoded=encoded)
    if account is None or not outcome.result.is_right:
        _record_failure(email, account.id if account else NO_TENANT, outcome, client)
        raise InvalidCredentialsError
    new_hash = password_hashing.hash_password(password) if outcome.result.needs_upgrade else None
    return _start_session(account, new_hash, client)


def _record_failure(email: str, creator_id: UUID, outcome: lockout.Outcome, client: ClientInfo) -> None:
    """For an unknown address the same rows are written, with NO_TENANT."""
    record(Event.LOGIN_FAILED, email=email, creator_id=creator_id, client=client)
    if outcome.locked_until:
        with tenant_scope(creator_id):
            notices.report_lockout(
                email=email, until=outcome.locked_until, creator_id=creator_id, client=client
            )


def _start_session(account: sql.Account, new_hash: str | None, client: ClientInfo) -> TokenPair | None:
    now = timezone.now()
    new = sessions.new_session(creator_id=account.id, client=client, now=now)
    with tenant_scope(account.id):
        start = sessions.start_session(new, verified_hash=account.password, new_hash=new_hash)
        if start is None:
            return None
        if new_hash:
            _record_upgrade(account, client)
        if start.is_new_device:
            notices.add(SecurityNotice.Kind.NEW_DEVICE, creator_id=account.id, client=client)
        session = str(start.token.session_id)
        record(Event.LOGIN_SUCCEEDED, creator_id=account.id, client=client, session=session)
    return sessions.token_pair(start.token, now=now)


def _record_upgrade(account: sql.Account, client: ClientInfo) -> None:
    cost = weak_bcrypt_cost(account.password)
    if cost is None:
        record(Event.PASSWORD_UPGRADED, creator_id=account.id, client=client)
    else:
        record(Event.PASSWORD_WEAK_HASH_UPGRADED, creator_id=account.id, client=client, cost=cost)
