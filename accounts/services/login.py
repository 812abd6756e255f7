"""Signing in with e-mail and password."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts import sql
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidCredentialsError
from accounts.models import SecurityNotice
from accounts.tokens.jwt import TokenPair
from audit.events import Event
from audit.recorder import NO_TENANT, record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import lockout, notices, password_hashing, sessions


def log_in(*, email: str, password: str, client: ClientInfo) -> TokenPair:
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


def holder_of(email: str) -> UUID | None:
    """The account that holds a canonical address, so that its owner hears of what is asked there."""
    return sql.find_creator(address=email)


def _find(email: str) -> sql.Account | None:
    """An account that may sign in. Staff are out of the app role's sight; deactivated ones of ours."""
    return sql.find_account(address=email)


def _refuse(
    email: str, account: sql.Account | None, locked_until: datetime | None, client: ClientInfo
) -> None:
    """For an unknown address the same rows are written, to nobody's name."""
    who: dict[str, Any] = {"creator_id": account.id if account else NO_TENANT, "client": client}
    record(Event.LOGIN_FAILED, email=email, **who)
    if locked_until:
        with tenant_scope(who["creator_id"]):
            notices.report_lock(email=email, until=locked_until, **who)


def _admit(account: sql.Account, upgrade: str | None, client: ClientInfo) -> TokenPair | None:
    """None where the password is not the one that was looked at any more."""
    now, new_hash = timezone.now(), password_hashing.hash_password(upgrade) if upgrade else None
    who: dict[str, Any] = {"creator_id": account.id, "client": client}
    new = sessions.new_session(now=now, **who)
    with tenant_scope(account.id):
        start = sessions.start_session(new, verified_hash=account.password, new_hash=new_hash)
        if start is None:
            return None
        if new_hash:
            record(Event.PASSWORD_UPGRADED, **who)
        if start.is_new_device:
            notices.add(SecurityNotice.Kind.NEW_DEVICE, **who)
        record(Event.LOGIN_SUCCEEDED, session=str(start.token.session_id), **who)
    return sessions.token_pair(start.token, now=now)
