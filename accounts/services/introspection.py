"""Introspection (RFC 7662) and revocation (RFC 7009) of tokens, for resource servers."""

from typing import Any

from django.utils import timezone

from accounts.exceptions import InvalidTokenError
from accounts.models import RefreshToken, Session
from accounts.tokens.jwt import AccessToken, EndUserToken
from accounts.tokens.jwt import RefreshToken as RefreshTokenJWT
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import end_users, sessions

CLAIMS = ("sub", "sid", "exp", "iat", "jti", "token_type", "iss", "aud")
Token = AccessToken | RefreshTokenJWT | EndUserToken


def introspect(text: str) -> dict[str, Any]:
    """RFC 7662 § 2.2: the claims of a live token; for any other, only that it is not active."""
    try:
        token = _verified(text)
        _require_live(token)
    except InvalidTokenError:
        return {"active": False}
    return {"active": True} | {name: token.payload[name] for name in CLAIMS}


def revoke(text: str, *, client: ClientInfo) -> None:
    """RFC 7009: a refresh token ends its session; an invalid token is no error."""
    try:
        token = _verified(text)
    except InvalidTokenError:
        return
    if isinstance(token, EndUserToken):
        end_users.end_session(creator_id=token.creator_id, session_id=token.session_id, client=client)
        return
    with tenant_scope(token.creator_id):
        if isinstance(token, AccessToken):
            revoked = sessions.blacklist(token)
        else:
            revoked = sessions.revoke_session(token.creator_id, token.session_id, Session.End.REVOKED)
        if revoked:
            record(
                Event.TOKEN_REVOKED,
                client=client,
                creator_id=token.creator_id,
                session=str(token.session_id),
                token_type=token.token_type,
            )


def _verified(text: str) -> Token:
    for kind in (AccessToken, RefreshTokenJWT, EndUserToken):
        try:
            return kind.verified(text)
        except InvalidTokenError:
            continue
    raise InvalidTokenError


def _require_live(token: Token) -> None:
    if isinstance(token, AccessToken):
        sessions.caller_of(token)
    elif isinstance(token, EndUserToken):
        end_users.current_session(token)
    else:
        _require_unused(token)


def _require_unused(token: RefreshTokenJWT) -> None:
    with tenant_scope(token.creator_id):
        session = sessions.live_sessions(token.creator_id).filter(
            pk=token.session_id, creator__is_active=True
        )
        unused = RefreshToken.objects.filter(
            creator_id=token.creator_id, pk=token.jti, used_at=None, expires_at__gt=timezone.now()
        )
        is_live = session.exists() and unused.exists()
    if not is_live:
        raise InvalidTokenError
