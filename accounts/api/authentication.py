"""Bearer authentication. The token is verified once per request, for the middleware and for DRF."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.exceptions import InvalidTokenError
from accounts.services.sessions import caller_of
from accounts.sql import Caller
from accounts.tokens.jwt import AccessToken
from tenancy.context import OPERATOR, current_alias

SCHEME = "bearer"
WWW_AUTHENTICATE = 'Bearer error="invalid_token"'


def access_token_of(request: HttpRequest) -> AccessToken | None:
    """The verified bearer token; None if there is none or it is invalid."""
    if not hasattr(request, "access_token"):
        request.access_token = _verified_token(request)  # type: ignore[attr-defined]
    token: AccessToken | None = request.access_token  # type: ignore[attr-defined]
    return token


def bearer_of(request: HttpRequest) -> str:
    """The token in `Authorization: Bearer` (RFC 6750 § 2.1), "" if there is none."""
    scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return text.strip() if scheme.lower() == SCHEME else ""


def _verified_token(request: HttpRequest) -> AccessToken | None:
    text = bearer_of(request)
    if not text:
        return None
    try:
        return AccessToken.verified(text)
    except InvalidTokenError:
        return None


def resolve_tenant(request: HttpRequest) -> UUID | None:
    """The creator of the verified token, for TenantMiddleware. The admin ignores tokens."""
    if current_alias() == OPERATOR:
        return None
    token = access_token_of(request)
    return token.creator_id if token else None


class AccessTokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller, AccessToken] | None:
        token = access_token_of(request._request)
        return (caller_of(token), token) if token else None

    def authenticate_header(self, request: Request) -> str:
        return WWW_AUTHENTICATE


def caller(request: Any) -> Caller:
    user: Caller = request.user
    return user
