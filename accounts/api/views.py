"""The JSON doors of the account: read, call one service, answer."""

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

SIGN_UP_ANSWER = "If the address can be used, a mail with a link is on its way."
RESET_ANSWER = "If there is an account with this address, a mail with a link is on its way."
RESEND_ANSWER = "If a sign-up waits at this address, a mail with a link is on its way."


def token_answer(pair: TokenPair) -> Response:
    return Response(_token_body(pair))


def _token_body(pair: TokenPair) -> dict[str, Any]:
    return asdict(pair) | {"token_type": "Bearer"}


class RegisterView(PublicView):
    """Sign up; the answer is the same whether or not the address is taken."""

    limit = "register"

    @operation(
        WeakPasswordError, request=serializers.RegisterRequest, responses={202: serializers.DetailResponse}
    )
    def post(self, request: Request) -> Response:
        registration.register(**validated(serializers.RegisterRequest, request), client=client_info(request))
        return Response({"detail": SIGN_UP_ANSWER}, status=202)


class VerifyEmailView(PublicView):
    """Confirm the address with the link's uid and token, and sign in.

    The password is the one chosen at sign-up; the link takes five attempts. A client that lost the
    response sends the same request again.
    """

    limit = "email_verify"

    @operation(
        InvalidLinkError,
        request=serializers.VerifyEmailRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.VerifyEmailRequest, request)
        return token_answer(email_verification.verify_email_and_log_in(**data, client=client_info(request)))


class ResendVerificationView(PublicView):
    """Send the confirmation link again; always the same answer."""

    limit = "email_verify_resend"

    @operation(request=serializers.EmailRequest, responses={202: serializers.DetailResponse})
    def post(self, request: Request) -> Response:
        registration.resend_verification(
            **validated(serializers.EmailRequest, request), client=client_info(request)
        )
        return Response({"detail": RESEND_ANSWER}, status=202)


class LoginView(PublicView):
    """Sign in with e-mail and password."""

    limit = "login"

    @operation(
        InvalidCredentialsError,
        AccountLockedError,
        request=serializers.LoginRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        return token_answer(
            login.log_in(**validated(serializers.LoginRequest, request), client=client_info(request))
        )


class RefreshView(FastPathView, PublicView):
    """Exchange a refresh token for the next pair.

    Each token is spent by its use; shown again later, it ends its session.
    """

    limit = "refresh"

    def fast_response(self, request: HttpRequest) -> dict[str, Any] | None:
        self.count(request)
        refresh = _refresh_in(request)
        if refresh is None:
            return None
        return _token_body(refresh_session(refresh=refresh, client=client_info(request)))

    @operation(
        InvalidTokenError,
        TokenReusedError,
        request=serializers.RefreshRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.RefreshRequest, request)
        return token_answer(refresh_session(**data, client=client_info(request)))


def _refresh_in(request: HttpRequest) -> str | None:
    """The refresh token of a request that is as one should be."""
    if request.method != "POST" or request.content_type != StrictJSONParser.media_type:
        return None
    with suppress(ParseError):
        body = parsed(request.body)
        refresh = body.get("refresh") if isinstance(body, dict) else None
        return refresh if isinstance(refresh, str) and COMPACT.fullmatch(refresh) else None
    return None


class LogoutView(PublicView):
    """End the session of a refresh token.

    A live access token in `Authorization` dies with it; a dead one is ignored.
    """

    @operation(
        InvalidTokenError, request=serializers.RefreshRequest, responses={204: None}, optional_bearer=True
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.RefreshRequest, request)
        sessions.log_out(**data, access=access_token_of(request._request), client=client_info(request))
        return Response(status=204)


class LogoutAllView(APIView):
    """End every session of yours at once, access tokens included."""

    @operation(responses={204: None})
    def post(self, request: Request) -> Response:
        sessions.log_out_everywhere(creator_id=caller(request).id, client=client_info(request))
        return Response(status=204)


@owns_transactions
class MeView(FastPathView):
    """Who you are."""

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
    """Would this password do? If not, what is wrong with it."""

    limit = "password_validate"

    @operation(
        request=serializers.PasswordValidateRequest, responses={200: serializers.PasswordValidateResponse}
    )
    def post(self, request: Request) -> Response:
        suggestions = password_hashing.suggestions(**validated(serializers.PasswordValidateRequest, request))
        return Response({"is_valid": not suggestions, "suggestions": suggestions})


class PasswordResetView(PublicView):
    """Ask for a link to reset the password; always the same answer."""

    limit = "password_reset"

    @operation(request=serializers.EmailRequest, responses={202: serializers.DetailResponse})
    def post(self, request: Request) -> Response:
        password_reset.request_reset(
            **validated(serializers.EmailRequest, request), client=client_info(request)
        )
        return Response({"detail": RESET_ANSWER}, status=202)


class PasswordResetConfirmView(PublicView):
    """Set a new password with the link's uid and token; every session ends."""

    limit = "password_reset_confirm"

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
    """Change the password; every other session ends."""

    limit = "password_change"

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
    """The public keys (RFC 7517); caches may keep them as long as a new key waits to sign."""

    renderer_classes = (JWKSRenderer,)

    @operation(responses={200: serializers.JWKSResponse})
    def get(self, request: Request) -> Response:
        headers = {
            "Cache-Control": f"public, max-age={settings.JWKS_MAX_AGE.seconds}",
            "Access-Control-Allow-Origin": "*",
        }
        return Response(key_ring().jwks(), headers=headers)
