"""The JSON doors of the account: read, call one service, answer."""

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts import limits
from accounts.keys import key_ring
from accounts.services import (
    login,
    password_change,
    passwords,
    profile,
    registration,
    reset,
    sessions,
    verification,
)
from accounts.tokens import TokenPair
from audit.clients import client_of
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import access_token_of, caller
from .problems import read_only

SIGN_UP_ANSWER = "If the address can be used, a mail with a link is on its way."
RESET_ANSWER = "If there is an account with this address, a mail with a link is on its way."
RESEND_ANSWER = "If a sign-up waits at this address, a mail with a link is on its way."


@owns_transactions
class LimitedView(APIView):
    """A door that counts its callers, before anything else is looked at."""

    limit = "default"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        limits.check(request, self.limit)
        super().initial(request, *args, **kwargs)


class PublicView(LimitedView):
    """A door without a lock: no bearer is read, and rubbish in its place does no harm."""

    authentication_classes = ()
    permission_classes = ()


def read(serializer: type[Serializer], request: Request) -> dict[str, Any]:
    form = serializer(data=request.data)
    form.is_valid(raise_exception=True)
    data: dict[str, Any] = form.validated_data
    return data


def token_answer(pair: TokenPair) -> Response:
    return Response(asdict(pair) | {"token_type": "Bearer"})


class RegisterView(PublicView):
    limit = "register"

    @extend_schema(
        request=serializers.RegisterRequest,
        responses={202: serializers.DetailAnswer, 400: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        registration.register(**read(serializers.RegisterRequest, request), client=client_of(request))
        return Response({"detail": SIGN_UP_ANSWER}, status=202)


class VerifyEmailView(PublicView):
    limit = "email_verify"

    @extend_schema(
        request=serializers.VerifyEmailRequest,
        responses={200: serializers.TokenPairAnswer, 400: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.VerifyEmailRequest, request)
        return token_answer(verification.verify_email_and_log_in(**data, client=client_of(request)))


class ResendVerificationView(PublicView):
    limit = "email_verify_resend"

    @extend_schema(
        request=serializers.EmailRequest, responses={202: serializers.DetailAnswer, 400: serializers.Problem}
    )
    def post(self, request: Request) -> Response:
        registration.resend_verification(**read(serializers.EmailRequest, request), client=client_of(request))
        return Response({"detail": RESEND_ANSWER}, status=202)


class LoginView(PublicView):
    limit = "login"

    @extend_schema(
        request=serializers.LoginRequest,
        responses={200: serializers.TokenPairAnswer, 400: serializers.Problem, 401: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        return token_answer(
            login.log_in(**read(serializers.LoginRequest, request), client=client_of(request))
        )


class RefreshView(PublicView):
    limit = "refresh"

    @extend_schema(
        request=serializers.RefreshRequest,
        responses={200: serializers.TokenPairAnswer, 400: serializers.Problem, 401: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.RefreshRequest, request)
        return token_answer(sessions.refresh_session(**data, client=client_of(request)))


class LogoutView(PublicView):
    @extend_schema(
        request=serializers.RefreshRequest,
        responses={204: None, 400: serializers.Problem, 401: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.RefreshRequest, request)
        sessions.log_out(**data, access=access_token_of(request._request), client=client_of(request))
        return Response(status=204)


class LogoutAllView(APIView):
    @extend_schema(request=None, responses={204: None, 401: serializers.Problem})
    def post(self, request: Request) -> Response:
        sessions.log_out_everywhere(creator_id=caller(request).id, client=client_of(request))
        return Response(status=204)


@owns_transactions
class MeView(APIView):
    @extend_schema(responses={200: serializers.ProfileAnswer, 401: serializers.Problem})
    def get(self, request: Request) -> Response:
        return Response(serializers.ProfileAnswer(caller(request)).data)

    @extend_schema(
        request=serializers.ProfileRequest,
        responses={200: serializers.ProfileAnswer, 400: serializers.Problem, 401: serializers.Problem},
    )
    def patch(self, request: Request) -> Response:
        data = read(serializers.ProfileRequest, request)
        updated = profile.rename(caller(request), **data, client=client_of(request))
        return Response(serializers.ProfileAnswer(updated).data)


class PasswordValidateView(PublicView):
    limit = "password_validate"

    @extend_schema(
        request=serializers.PasswordValidateRequest,
        responses={200: serializers.PasswordValidateAnswer, 400: serializers.Problem},
    )
    def post(self, request: Request) -> Response:
        suggestions = passwords.suggestions(**read(serializers.PasswordValidateRequest, request))
        return Response({"is_valid": not suggestions, "suggestions": suggestions})


class PasswordResetView(PublicView):
    limit = "password_reset"

    @extend_schema(
        request=serializers.EmailRequest, responses={202: serializers.DetailAnswer, 400: serializers.Problem}
    )
    def post(self, request: Request) -> Response:
        reset.request_reset(**read(serializers.EmailRequest, request), client=client_of(request))
        return Response({"detail": RESET_ANSWER}, status=202)


class PasswordResetConfirmView(PublicView):
    limit = "password_reset_confirm"

    @extend_schema(
        request=serializers.PasswordResetConfirmRequest, responses={204: None, 400: serializers.Problem}
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.PasswordResetConfirmRequest, request)
        reset.reset_password(**data, client=client_of(request))
        return Response(status=204)


class PasswordChangeView(LimitedView):
    limit = "password_change"

    @extend_schema(
        request=serializers.PasswordChangeRequest,
        responses={
            204: None,
            400: serializers.Problem,
            401: serializers.Problem,
            403: serializers.Problem,
            429: serializers.Problem,
        },
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.PasswordChangeRequest, request)
        password_change.change_password(caller(request), **data, client=client_of(request))
        return Response(status=204)


@read_only
def jwks(request: HttpRequest) -> JsonResponse:
    """The public keys (RFC 7517); caches may keep them as long as a new key waits to sign."""
    response = JsonResponse(key_ring().jwks(), content_type="application/jwk-set+json")
    response["Cache-Control"] = f"public, max-age={settings.JWKS_MAX_AGE.seconds}"
    response["Access-Control-Allow-Origin"] = "*"
    return response
