"""Sessions, which are families of refresh tokens: start, end, and the caller behind an access token."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import sql
from accounts.exceptions import InvalidTokenError
from accounts.models import BlacklistedToken, Creator, Session
from accounts.tokens.jwt import AccessToken, RefreshToken, TokenPair, access_token
from accounts.tokens.key_cache import key_ring
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.requests.user_agents import describe_device
from tenancy.context import current_alias, tenant_scope


@dataclass(frozen=True)
class IssuedToken:
    """The columns of a refresh token from which it is signed, the first time and again."""

    creator_id: UUID
    session_id: UUID
    id: UUID
    kid: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class NewSession:
    """A session that is not in the database yet."""

    token: IssuedToken
    client: ClientInfo
    device: str


@dataclass(frozen=True)
class StartedSession:
    token: IssuedToken
    is_new_device: bool  # the creator has signed in before, but never from this device


def caller_of(access: AccessToken) -> sql.Caller:
    """The creator whom the token names, read from the database for each request.

    Raises:
        InvalidTokenError: the session has ended, the token is blacklisted, or the account is deleted or
            deactivated.

    """
    caller = sql.identify_caller(
        creator=access.creator_id,
        session=access.session_id,
        token=access.jti,
        idle=settings.SESSION_IDLE_LIFETIME or None,
    )
    if caller is None:
        raise InvalidTokenError
    return caller


def new_session(*, creator_id: UUID, client: ClientInfo, now: datetime) -> NewSession:
    """Called outside of transactions: reading the keys or parsing a user agent can take a while."""
    kid, expires_at = key_ring().signing_key().kid, now + settings.JWT_REFRESH_TOKEN_LIFETIME
    token = IssuedToken(creator_id, uuid7(), uuid7(), kid, now, expires_at)
    return NewSession(token, client, describe_device(client))


def start_session(
    new: NewSession, *, verified_hash: str | None = None, new_hash: str | None = None
) -> StartedSession | None:
    """Insert the session and its first refresh token; called inside the creator's scope.

    `new_hash` replaces the account's password hash. Returns None if the account may no longer sign in, or
    has another password hash than `verified_hash`.
    """
    token, client = new.token, new.client
    start = sql.start_session(
        creator=token.creator_id,
        verified_hash=verified_hash,
        new_hash=new_hash,
        session=token.session_id,
        token=token.id,
        signing_kid=token.kid,
        started_at=token.created_at,
        ends_at=token.expires_at,
        ip_address=client.ip_address,
        user_agent=client.user_agent,
        device=new.device,
    )
    if start is None:
        return None
    _enforce_session_limit(token)
    return StartedSession(token, start.is_new_device)


def _enforce_session_limit(new: IssuedToken) -> None:
    """End the oldest sessions beyond MAX_SESSIONS_PER_CREATOR. The creator's row is locked."""
    if not settings.MAX_SESSIONS_PER_CREATOR:
        return
    others = live_sessions(new.creator_id).exclude(pk=new.session_id).order_by("-created_at")
    oldest = others.values_list("pk", flat=True)[settings.MAX_SESSIONS_PER_CREATOR - 1 :]
    _end(new.creator_id, list(oldest), Session.End.CAP)


def live_sessions(creator_id: UUID) -> QuerySet[Session]:
    """Sessions that can still be used; called inside the creator's scope."""
    now = timezone.now()
    live = Session.objects.filter(creator_id=creator_id, ended_at=None, expires_at__gt=now)
    if settings.SESSION_IDLE_LIFETIME:
        live = live.filter(last_used_at__gt=now - settings.SESSION_IDLE_LIFETIME)
    return live


def lock_if_unchanged(caller: sql.Caller, *, verified_hash: str) -> bool:
    """Lock the account; called inside the creator's scope.

    False if `verified_hash` is no longer its password hash: verify the password again
    (`password_hashing.retry_if_changed`).

    Raises:
        InvalidTokenError: the session has ended, or the account was deleted or deactivated, meanwhile.

    """
    creator = Creator.objects.lock_row(caller.id)
    if creator is None or not creator.is_active:
        raise InvalidTokenError
    if not live_sessions(caller.id).filter(pk=caller.session_id).exists():
        raise InvalidTokenError
    return creator.password == verified_hash and not creator.must_reset_password


def end_session(*, creator_id: UUID, session_id: UUID, client: ClientInfo) -> bool:
    """False if there is no such live session."""
    with tenant_scope(creator_id):
        Creator.objects.lock_row(creator_id)
        is_live = live_sessions(creator_id).filter(pk=session_id).exists()
        ended = is_live and bool(_end(creator_id, [session_id], Session.End.ENDED))
        if ended:
            record(Event.SESSION_ENDED, client=client, creator_id=creator_id, session=str(session_id))
    return ended


def token_pair(refresh: IssuedToken, *, now: datetime) -> TokenPair:
    """Sign a pair. The same `refresh` gives the same refresh token each time."""
    access = access_token(
        creator_id=refresh.creator_id,
        session_id=refresh.session_id,
        now=now,
        session_ends_at=refresh.expires_at,
    )
    token = RefreshToken.issue(
        creator_id=refresh.creator_id,
        session_id=refresh.session_id,
        jti=refresh.id,
        issued_at=refresh.created_at,
        expires_at=refresh.expires_at,
    )
    token.kid = refresh.kid
    return TokenPair(
        access=str(access),
        refresh=str(token),
        expires_in=_seconds(now, access.expires_at),
        refresh_expires_in=_seconds(now, refresh.expires_at),
    )


def log_out(*, refresh: str, access: AccessToken | None, client: ClientInfo) -> None:
    """End the session of a refresh token, used or not, and blacklist `access`; idempotent.

    Raises:
        InvalidTokenError: `refresh` does not verify, or `access` is live and of another creator.

    """
    token = RefreshToken.verified(refresh)
    if access is not None and access.creator_id != token.creator_id:
        if _is_live(access):
            raise InvalidTokenError
        access = None
    with tenant_scope(token.creator_id):
        Creator.objects.lock_row(token.creator_id)
        if access is not None:
            blacklist(access)
        if _end(token.creator_id, [token.session_id], Session.End.LOGOUT):
            record(
                Event.SESSION_ENDED, client=client, creator_id=token.creator_id, session=str(token.session_id)
            )


def _is_live(access: AccessToken) -> bool:
    """Whether a verified token would be accepted: its session and account decide."""
    try:
        caller_of(access)
    except InvalidTokenError:
        return False
    return True


def log_out_everywhere(*, creator_id: UUID, client: ClientInfo) -> None:
    """End every session and every one-time link of the creator. Access tokens are refused from then on."""
    with tenant_scope(creator_id):
        Creator.objects.end_links(creator_id)
        live = live_sessions(creator_id).values_list("pk", flat=True)
        ended = _end(creator_id, list(live), Session.End.LOGOUT_ALL)
        record(Event.SESSIONS_ENDED, client=client, creator_id=creator_id, count=ended)


def end_sessions(
    *, creator_id: UUID, keep: UUID | None = None, reason: Session.End = Session.End.PASSWORD
) -> int:
    """End all sessions except `keep`; called inside the creator's scope. Returns how many."""
    live = Session.objects.filter(creator_id=creator_id, ended_at=None)
    if keep is not None:
        live = live.exclude(pk=keep)
    return live.update(ended_at=timezone.now(), end_reason=reason)


def revoke_session(creator_id: UUID, session_id: UUID, reason: Session.End) -> bool:
    """Lock the account and end the session; called inside the creator's scope. False if it had ended."""
    Creator.objects.lock_row(creator_id)
    return bool(_end(creator_id, [session_id], reason))


def _end(creator_id: UUID, sessions: list[UUID], reason: Session.End) -> int:
    live = Session.objects.filter(creator_id=creator_id, pk__in=sessions, ended_at=None)
    return live.update(ended_at=timezone.now(), end_reason=reason)


def blacklist(access: AccessToken) -> bool:
    """Called inside the creator's scope. False if it is blacklisted already, or its creator was deleted."""
    if BlacklistedToken.objects.filter(creator_id=access.creator_id, id=access.jti).exists():
        return False
    entry = BlacklistedToken(id=access.jti, creator_id=access.creator_id, expires_at=access.expires_at)
    try:
        with transaction.atomic(using=current_alias()):
            BlacklistedToken.objects.bulk_create([entry], ignore_conflicts=True)
    except IntegrityError:
        return False
    return True


def _seconds(start: datetime, end: datetime) -> int:
    """Whole seconds, as `exp` and `iat` are."""
    return max(0, int(end.timestamp()) - int(start.timestamp()))
