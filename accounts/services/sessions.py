"""Sessions: families of refresh tokens, from sign-in to their end."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import sql
from accounts.exceptions import InvalidTokenError, TokenReusedError
from accounts.models import BlacklistedToken, Creator, SecurityNotice, Session
from accounts.tokens.jwt import AccessToken, RefreshToken, TokenPair, access_token
from accounts.tokens.key_cache import key_ring
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from audit.requests.user_agents import describe_device
from tenancy.context import current_alias, tenant_scope

from . import notices


@dataclass(frozen=True)
class IssuedToken:
    """A refresh token as its row has it: enough to issue it, and again."""

    creator_id: UUID
    session_id: UUID
    id: UUID
    kid: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class NewSession:
    """All that is known of a session before it starts."""

    token: IssuedToken
    client: ClientInfo
    device: str


@dataclass(frozen=True)
class StartedSession:
    """A session that has begun; is its device another than those from which its creator signed in before?"""

    token: IssuedToken
    is_new_device: bool


def caller_of(access: AccessToken) -> sql.Caller:
    """Who is calling, read anew for every request.

    Raises:
        InvalidTokenError: the session is over, the token blacklisted, the account gone or deactivated.

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
    """Outside of transactions: whoever is the first to need a key, or to name a device, is a while at it."""
    kid, expires_at = key_ring().signing_key().kid, now + settings.JWT_REFRESH_TOKEN_LIFETIME
    token = IssuedToken(creator_id, uuid7(), uuid7(), kid, now, expires_at)
    return NewSession(token, client, describe_device(client))


def start_session(
    new: NewSession, *, verified_hash: str | None = None, new_hash: str | None = None
) -> StartedSession | None:
    """The session and its first refresh token; called inside the creator's scope.

    None where the account may not sign in any more, or its hash is not the one that was `verified_hash`;
    `new_hash` is the hash to have in its place.
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
    """Where sessions are capped, the oldest end for the new one. Its start has locked the creator's row."""
    if not settings.MAX_SESSIONS_PER_CREATOR:
        return
    others = live_sessions(new.creator_id).exclude(pk=new.session_id).order_by("-created_at")
    oldest = others.values_list("pk", flat=True)[settings.MAX_SESSIONS_PER_CREATOR - 1 :]
    _end(new.creator_id, list(oldest), Session.End.CAP)


def live_sessions(creator_id: UUID) -> QuerySet[Session]:
    """Those that can still be used; called inside the creator's scope."""
    now = timezone.now()
    alive = Session.objects.filter(creator_id=creator_id, ended_at=None, expires_at__gt=now)
    if settings.SESSION_IDLE_LIFETIME:
        alive = alive.filter(last_used_at__gt=now - settings.SESSION_IDLE_LIFETIME)
    return alive


def is_confirmed(caller: sql.Caller, *, password: str) -> bool:
    """Lock the account and judge it again, after its password hash, `password`, was verified.

    Called inside the creator's scope. False if the account has another hash by now: then verify again.

    Raises:
        InvalidTokenError: the session has ended meanwhile, or the account is gone.

    """
    creator = Creator.objects.locked(caller.id)
    if creator is None or not creator.is_active:
        raise InvalidTokenError
    if not live_sessions(caller.id).filter(pk=caller.session_id).exists():
        raise InvalidTokenError
    return creator.password == password and not creator.must_reset_password


def end_session(*, creator_id: UUID, session_id: UUID, client: ClientInfo) -> bool:
    """End one session by its id; False where there is no such live one."""
    with tenant_scope(creator_id):
        Creator.objects.locked(creator_id)
        ended = bool(live_sessions(creator_id).filter(pk=session_id).exists()) and bool(
            _end(creator_id, [session_id], Session.End.ENDED)
        )
        if ended:
            record(Event.SESSION_ENDED, client=client, creator_id=creator_id, session=str(session_id))
    return ended


def token_pair(refresh: IssuedToken, *, now: datetime) -> TokenPair:
    """Sign the pair that belongs to a row; the same row gives the same refresh token again."""
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


def refresh_session(*, refresh: str, client: ClientInfo) -> TokenPair:
    """Spend a refresh token and issue its one successor.

    Raises:
        InvalidTokenError: it does not verify, or its session is over.
        TokenReusedError: it was spent before, and not just now; its session has ended.

    """
    token, now = RefreshToken.verified(refresh), timezone.now()
    new = _rotate(token, now)
    if new.outcome == "reused":
        raise TokenReusedError if _end_family(token, client) else InvalidTokenError
    successor = IssuedToken(
        token.creator_id, token.session_id, new.id, new.kid, new.created_at, new.expires_at
    )
    return token_pair(successor, now=now)


def _rotate(token: RefreshToken, now: datetime) -> sql.Rotation:
    rotation = sql.rotate_refresh(
        creator=token.creator_id,
        family=token.session_id,
        token=token.jti,
        successor=uuid7(),
        signing_kid=key_ring().signing_key().kid,
        used_now=now,
        grace=settings.JWT_REFRESH_GRACE or None,  # 0 is none, also for a loser of a race
        idle=settings.SESSION_IDLE_LIFETIME or None,
    )
    if rotation is None:
        raise InvalidTokenError
    return rotation


def _end_family(token: RefreshToken, client: ClientInfo) -> bool:
    """False where another one did, who came with a spent token too."""
    who: dict[str, Any] = {"creator_id": token.creator_id, "client": client}
    with tenant_scope(token.creator_id):
        Creator.objects.locked(token.creator_id)
        ended = bool(_end(token.creator_id, [token.session_id], Session.End.REUSE))
        if ended:
            record(Event.TOKEN_REUSED, session=str(token.session_id), **who)
            notices.add(SecurityNotice.Kind.TOKEN_REUSED, **who)
    return ended


def log_out(*, refresh: str, access: AccessToken | None, client: ClientInfo) -> None:
    """End the session of a refresh token, spent or not; a second time changes nothing.

    Raises:
        InvalidTokenError: it does not verify, or belongs to another creator than `access`, which is live.

    """
    token = RefreshToken.verified(refresh)
    if access is not None and access.creator_id != token.creator_id:
        if _is_live(access):
            raise InvalidTokenError
        access = None
    with tenant_scope(token.creator_id):
        Creator.objects.locked(token.creator_id)
        if access is not None:
            blacklist(access)
        if _end(token.creator_id, [token.session_id], Session.End.LOGOUT):
            record(
                Event.SESSION_ENDED, client=client, creator_id=token.creator_id, session=str(token.session_id)
            )


def _is_live(access: AccessToken) -> bool:
    """Its signature and times are right; whether it still gets in, its session and account decide."""
    try:
        caller_of(access)
    except InvalidTokenError:
        return False
    return True


def log_out_everywhere(*, creator_id: UUID, client: ClientInfo) -> None:
    """End every session of the creator and every one-time link; access tokens die with the next request."""
    with tenant_scope(creator_id):
        Creator.objects.end_links(creator_id)
        alive = live_sessions(creator_id).values_list("pk", flat=True)
        ended = _end(creator_id, list(alive), Session.End.LOGOUT_ALL)
        record(Event.SESSIONS_ENDED, client=client, creator_id=creator_id, count=ended)


def end_sessions(
    *, creator_id: UUID, keep: UUID | None = None, reason: Session.End = Session.End.PASSWORD
) -> int:
    """End all sessions but one, because the account's keys are others now; inside the creator's scope."""
    alive = Session.objects.filter(creator_id=creator_id, ended_at=None)
    if keep is not None:
        alive = alive.exclude(pk=keep)
    return alive.update(ended_at=timezone.now(), end_reason=reason)


def revoke_session(creator_id: UUID, session_id: UUID, reason: Session.End) -> bool:
    """Called inside the creator's scope; False if it had ended."""
    Creator.objects.locked(creator_id)
    return bool(_end(creator_id, [session_id], reason))


def _end(creator_id: UUID, sessions: list[UUID], reason: Session.End) -> int:
    alive = Session.objects.filter(creator_id=creator_id, pk__in=sessions, ended_at=None)
    return alive.update(ended_at=timezone.now(), end_reason=reason)


def blacklist(access: AccessToken) -> bool:
    """Called inside the creator's scope; False where it was there, or its creator is gone."""
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
    """Whole seconds as the tokens count them: `exp` less `iat`."""
    return max(0, int(end.timestamp()) - int(start.timestamp()))
