"""Endpoints of sign-up, sign-in, tokens and passwords. Each calls one service."""

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.exceptions import (
    AccountLockedError,
    InvalidCredentialsError,
    InvalidLinkError,
    InvalidTokenError,
    TokenReusedError,
    WeakPasswordError,
    WrongPasswordError,
)
from accounts.services import (
    email_verification,
    login,
    password_change,
    password_hashing,
    password_reset,
    profile,
    registration,
    sessions,
)
from accounts.services.refresh import refresh_session
from accounts.tokens.jwt import COMPACT, TokenPair
from accounts.tokens.key_cache import key_ring
from audit.requests.client_info import client_info
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import access_token_of, caller
from .base import FastPathView, InfrastructureView, LimitedView, PublicView, validated
from .openapi import operation
from .parsers import StrictJSONParser, parsed

REGISTERED = "If the address can be used, a mail with a link is on its way."
RESET_REQUESTED = "If there is an account with this address, a mail with a link is on its way."
RESENT = "If a sign-up waits at this address, a mail with a link is on its way."


def token_response(pair: TokenPair) -> Response:
    return Response(_token_body(pair))


def _token_body(pair: TokenPair) -> dict[str, Any]:
    return asdict(pair) | {"token_type": "Bearer"}


class RegisterView(PublicView):
    """Sign up. The response is the same whether or not the address is taken."""

    limit = "register"
    hashes_passwords = True

    @operation(
        WeakPasswordError, request=serializers.RegisterRequest, responses={202: serializers.DetailResponse}
    )
    def post(self, request: Request) -> Response:
        registration.register(**validated(serializers.RegisterRequest, request), client=client_info(request))
        return Response({"detail": REGISTERED}, status=202)


class VerifyEmailView(PublicView):
    """Confirm the address with the uid and token of the link, and sign in.

    The password is the one chosen at sign-up. A link allows five attempts. A client that lost the response
    can send the same request again.
    """

    limit = "email_verify"
    hashes_passwords = True

    @operation(
        InvalidLinkError,
        request=serializers.VerifyEmailRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.VerifyEmailRequest, request)
        return token_response(email_verification.verify_email_and_log_in(**data, client=client_info(request)))


class ResendVerificationView(PublicView):
    """Send the confirmation link again. The response is always the same."""

    limit = "email_verify_resend"

    @operation(request=serializers.EmailRequest, responses={202: serializers.DetailResponse})
    def post(self, request: Request) -> Response:
        registration.resend_verification(
            **validated(serializers.EmailRequest, request), client=client_info(request)
        )
        return Response({"detail": RESENT}, status=202)


class LoginView(PublicView):
    """Sign in with email and password."""

    limit = "login"
    hashes_passwords = True

    @operation(
        InvalidCredentialsError,
        AccountLockedError,
        request=serializers.LoginRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        return token_response(
            login.log_in(**validated(serializers.LoginRequest, request), client=client_info(request))
        )


class RefreshView(FastPathView, PublicView):
    """Exchange a refresh token for the next pair.

    A refresh token can be used once. If it is shown again later, its session ends.
    """

    limit = "refresh"

    def fast_response(self, request: HttpRequest) -> dict[str, Any] | None:
        self.check_rate_once(request)
        token = _refresh_token_of(request)
        return _rotate(token, request) if token else None

    @operation(
        InvalidTokenError,
        TokenReusedError,
        request=serializers.RefreshRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        return Response(_rotate(validated(serializers.RefreshRequest, request)["refresh"], request))


def _refresh_token_of(request: HttpRequest) -> str | None:
    """The token of a well-formed request; None if DRF has to find out what is wrong with it."""
    if request.method != "POST" or request.content_type != StrictJSONParser.media_type:
        return None
    with suppress(ParseError):
        body = parsed(request.body)
        token = body.get("refresh") if isinstance(body, dict) else None
        return token if isinstance(token, str) and COMPACT.fullmatch(token) else None
    return None


def _rotate(refresh: str, request: Any) -> dict[str, Any]:
    return _token_body(refresh_session(refresh=refresh, client=client_info(request)))


class LogoutView(PublicView):
    """End the session of a refresh token.

    A live access token in `Authorization` is revoked too; a dead one is ignored.
    """

    @operation(
        InvalidTokenError, request=serializers.RefreshRequest, responses={204: None}, optional_bearer=True
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.RefreshRequest, request)
        sessions.log_out(**data, access=access_token_of(request._request), client=client_info(request))
        return Response(status=204)


class LogoutAllView(APIView):
    """End all your sessions at once, access tokens included."""

    @operation(responses={204: None})
    def post(self, request: Request) -> Response:
        sessions.log_out_everywhere(creator_id=caller(request).id, client=client_info(request))
        return Response(status=204)


@owns_transactions
class MeView(FastPathView):
    """Your profile."""

    def fast_response(self, request: HttpRequest) -> dict[str, Any] | None:
        token = access_token_of(request) if request.method == "GET" else None
        with suppress(InvalidTokenError):
            return serializers.profile_of(sessions.caller_of(token)) if token else None
        return None

    @operation(responses={200: serializers.ProfileResponse})
    def get(self, request: Request) -> Response:
        return Response(serializers.profile_of(caller(request)))

    @operation(request=serializers.ProfileRequest, responses={200: serializers.ProfileResponse})
    def patch(self, request: Request) -> Response:
        """Change your display name; other fields are ignored."""
        data = validated(serializers.ProfileRequest, request)
        updated = profile.rename(caller(request), **data, client=client_info(request))
        return Response(serializers.profile_of(updated))


class PasswordValidateView(PublicView):
    """Check a password against the rules."""

    limit = "password_validate"
    hashes_passwords = True

    @operation(
        request=serializers.PasswordValidateRequest, responses={200: serializers.PasswordValidateResponse}
    )
    def post(self, request: Request) -> Response:
        suggestions = password_hashing.suggestions(**validated(serializers.PasswordValidateRequest, request))
        return Response({"is_valid": not suggestions, "suggestions": suggestions})


class PasswordResetView(PublicView):
    """Request a link to reset the password. The response is always the same."""

    limit = "password_reset"

    @operation(request=serializers.EmailRequest, responses={202: serializers.DetailResponse})
    def post(self, request: Request) -> Response:
        password_reset.request_reset(
            **validated(serializers.EmailRequest, request), client=client_info(request)
        )
        return Response({"detail": RESET_REQUESTED}, status=202)


class PasswordResetConfirmView(PublicView):
    """Set a new password with the uid and token of the link. All sessions end."""

    limit = "password_reset_confirm"
    hashes_passwords = True

    @operation(
        InvalidLinkError,
        WeakPasswordError,
        request=serializers.PasswordResetConfirmRequest,
        responses={204: None},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.PasswordResetConfirmRequest, request)
        password_reset.reset_password(**data, client=client_info(request))
        return Response(status=204)


class PasswordChangeView(LimitedView):
    """Change the password. All other sessions end."""

    limit = "password_change"
    hashes_passwords = True

    @operation(
        WrongPasswordError,
        WeakPasswordError,
        AccountLockedError,
        request=serializers.PasswordChangeRequest,
        responses={204: None},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.PasswordChangeRequest, request)
        password_change.change_password(caller(request), **data, client=client_info(request))
        return Response(status=204)


class JWKSRenderer(JSONRenderer):
    media_type = "application/jwk-set+json"


@owns_transactions
class JWKSView(InfrastructureView):
    """The public keys (RFC 7517). They may be cached for as long as a new key waits before it signs."""

    renderer_classes = (JWKSRenderer,)

    @operation(responses={200: serializers.JWKSResponse})
    def get(self, request: Request) -> Response:
        headers = {
            "Cache-Control": f"public, max-age={settings.JWKS_MAX_AGE.seconds}",
            "Access-Control-Allow-Origin": "*",
        }
        return Response(key_ring().jwks(), headers=headers)
