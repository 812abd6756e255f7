"""Rotation of refresh tokens (RFC 9700 § 4.14.2): each has one successor; reuse ends the session."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import sql
from accounts.exceptions import InvalidTokenError, TokenReusedError
from accounts.models import SecurityNotice, Session
from accounts.tokens.jwt import RefreshToken, TokenPair
from accounts.tokens.key_cache import key_ring
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import notices, sessions


def refresh_session(*, refresh: str, client: ClientInfo) -> TokenPair:
    """Use a refresh token and issue its successor; within the grace period, the same successor again.

    Raises:
        InvalidTokenError: it does not verify, or its session has ended.
        TokenReusedError: it was used before, and not within the grace period; its session has been ended.

    """
    token, now = RefreshToken.verified(refresh), timezone.now()
    new = _rotate(token, now)
    if new.outcome == "reused":
        raise TokenReusedError if _end_family(token, client) else InvalidTokenError
    successor = sessions.IssuedToken(
        token.creator_id, token.session_id, new.id, new.kid, new.created_at, new.expires_at
    )
    return sessions.token_pair(successor, now=now)


def _rotate(token: RefreshToken, now: datetime) -> sql.Rotation:
    rotation = sql.rotate_refresh(
        creator=token.creator_id,
        family=token.session_id,
        token=token.jti,
        successor=uuid7(),
        signing_kid=key_ring().signing_key().kid,
        used_now=now,
        grace=settings.JWT_REFRESH_GRACE or None,  # with 0, even a concurrent second use is reuse
        idle=settings.SESSION_IDLE_LIFETIME or None,
    )
    if rotation is None:
        raise InvalidTokenError
    return rotation


def _end_family(token: RefreshToken, client: ClientInfo) -> bool:
    """False if another request with a reused token has ended the session."""
    with tenant_scope(token.creator_id):
        ended = sessions.revoke_session(token.creator_id, token.session_id, Session.End.REUSE)
        if ended:
            session = str(token.session_id)
            record(Event.TOKEN_REUSED, creator_id=token.creator_id, client=client, session=session)
            notices.add(SecurityNotice.Kind.TOKEN_REUSED, creator_id=token.creator_id, client=client)
    return ended
