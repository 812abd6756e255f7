"""API views: validate, call one service, respond."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
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
    refresh,
    registration,
    sessions,
)
from accounts.tokens.jwt import TokenPair
from accounts.tokens.key_cache import key_ring
from audit.requests.client_info import client_info
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import access_token_of, caller
from .base import InfrastructureView, LimitedView, PublicView, validated
from .openapi import AccessTokenScheme, operation
from .problems import problem_for

SIGN_UP_DETAIL = "If the address can be used, an email with a link is on its way."
RESET_DETAIL = "If there is an account with this address, an email with a link is on its way."
RESEND_DETAIL = "If this address has an unconfirmed sign-up, an email with a link is on its way."
_json = JSONRenderer()


def token_response(pair: TokenPair) -> Response:
    return Response(vars(pair) | {"token_type": "Bearer"})


class RegisterView(PublicView):
    """Sign up. The response does not tell whether the address is taken."""

    limit = "register"
    hashes_passwords = True

    @operation(
        WeakPasswordError, request=serializers.RegisterRequest, responses={202: serializers.DetailResponse}
    )
    def post(self, request: Request) -> Response:
        registration.register(**validated(serializers.RegisterRequest, request), client=client_info(request))
        return Response({"detail": SIGN_UP_DETAIL}, status=202)


class VerifyEmailView(PublicView):
    """Confirm the address with the uid and token of the link, and sign in.

    The password is the one chosen at sign-up; the link allows five attempts. A client that lost the
    response can send the same request again.
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
        return Response({"detail": RESEND_DETAIL}, status=202)


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


class RefreshView(PublicView):
    """Exchange a refresh token for a new pair.

    A refresh token is rotated when it is used. Using it again later ends its session (RFC 9700).
    """

    limit = "refresh"

    @operation(
        InvalidTokenError,
        TokenReusedError,
        request=serializers.RefreshRequest,
        responses={200: serializers.TokenPairResponse},
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.RefreshRequest, request)
        return token_response(refresh.refresh_session(**data, client=client_info(request)))


class LogoutView(PublicView):
    """End the session of a refresh token.

    An access token in `Authorization` is revoked as well. If it is invalid, it is ignored.
    """

    @operation(
        InvalidTokenError,
        request=serializers.RefreshRequest,
        responses={204: None},
        auth=[{}, {AccessTokenScheme.name: []}],
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.RefreshRequest, request)
        sessions.log_out(**data, access=access_token_of(request._request), client=client_info(request))
        return Response(status=204)


class LogoutAllView(APIView):
    """End all your sessions. Their access tokens are invalid at once."""

    @operation(responses={204: None})
    def post(self, request: Request) -> Response:
        sessions.log_out_everywhere(creator_id=caller(request).id, client=client_info(request))
        return Response(status=204)


@owns_transactions
class MeView(APIView):
    """Your profile."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Skip DRF for a GET with a valid token: `me` is requested most, and this is 15 % faster."""
        token = access_token_of(request) if request.method == "GET" else None
        if token is None:
            return super().dispatch(request, *args, **kwargs)
        try:
            body = serializers.profile_of(sessions.caller_of(token))
        except Exception as error:
            if (response := problem_for(request, error)) is None:
                raise
            return response
        return HttpResponse(_json.render(body), content_type=_json.media_type)

    @operation(responses={200: serializers.ProfileResponse})
    def get(self, request: Request) -> Response:
        return Response(serializers.profile_of(caller(request)))

    @operation(request=serializers.ProfileRequest, responses={200: serializers.ProfileResponse})
    def patch(self, request: Request) -> Response:
        """Change your display name. Other fields are ignored."""
        data = validated(serializers.ProfileRequest, request)
        updated = profile.rename(caller(request), **data, client=client_info(request))
        return Response(serializers.profile_of(updated))


class PasswordValidateView(PublicView):
    """Check whether a password is strong enough, with suggestions if it is not."""

    limit = "password_validate"
    hashes_passwords = True

    @operation(
        request=serializers.PasswordValidateRequest, responses={200: serializers.PasswordValidateResponse}
    )
    def post(self, request: Request) -> Response:
        suggestions = password_hashing.suggestions(**validated(serializers.PasswordValidateRequest, request))
        return Response({"is_valid": not suggestions, "suggestions": suggestions})


class PasswordResetView(PublicView):
    """Send a link to reset the password. The response is always the same."""

    limit = "password_reset"

    @operation(request=serializers.EmailRequest, responses={202: serializers.DetailResponse})
    def post(self, request: Request) -> Response:
        password_reset.request_reset(
            **validated(serializers.EmailRequest, request), client=client_info(request)
        )
        return Response({"detail": RESET_DETAIL}, status=202)


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
    """The public keys (RFC 7517). `max-age` equals the time that a new key waits before it signs."""

    renderer_classes = (JWKSRenderer,)

    @operation(responses={200: serializers.JWKSResponse})
    def get(self, request: Request) -> Response:
        headers = {
            "Cache-Control": f"public, max-age={settings.JWKS_MAX_AGE.seconds}",
            "Access-Control-Allow-Origin": "*",
        }
        return Response(key_ring().jwks(), headers=headers)
