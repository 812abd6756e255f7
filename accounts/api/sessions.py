"""Endpoints for the sessions of a creator and of the creator's end users."""

from typing import Any
from uuid import UUID

from django.http import Http404
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.exceptions import CreatorNotFoundError, InvalidTokenError
from accounts.services import end_users, sessions
from accounts.tokens.jwt import EndUserToken
from audit.api.pagination import NewestFirst
from audit.requests.client_info import client_info
from tenancy.context import tenant_scope
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import WWW_AUTHENTICATE, bearer_of, caller
from .base import LimitedView, validated
from .openapi import operation


class SessionsView(ListAPIView):
    """Your sessions, newest first."""

    pagination_class = NewestFirst
    serializer_class = serializers.SessionResponse

    def get_queryset(self) -> Any:
        return sessions.live_sessions(caller(self.request).id)

    @operation(responses={200: serializers.SessionResponse(many=True)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class SessionView(APIView):
    """End one of your sessions; its tokens are invalid at once."""

    @operation(responses={204: None})
    def delete(self, request: Request, session_id: UUID) -> Response:
        ended = sessions.end_session(
            creator_id=caller(request).id, session_id=session_id, client=client_info(request)
        )
        if not ended:
            raise Http404
        return Response(status=204)


class EndUserSessionsView(LimitedView, ListAPIView):
    """POST is public and limited; GET needs a creator's token."""

    limit = "end_user_session"
    unlimited_methods = ("GET",)
    pagination_class = NewestFirst
    serializer_class = serializers.EndUserSessionResponse

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if self._is_public() else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [] if self._is_public() else super().get_permissions()

    def _is_public(self) -> bool:
        return getattr(self.request, "method", None) == "POST"  # there is no request for the schema

    def get_queryset(self) -> Any:
        return end_users.live_sessions(caller(self.request).id)

    @operation(responses={200: serializers.EndUserSessionResponse(many=True)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The live sessions of your end users, newest first."""
        with tenant_scope(caller(request).id):
            return super().get(request, *args, **kwargs)

    @operation(
        CreatorNotFoundError,
        request=serializers.OpenEndUserSessionRequest,
        responses={201: serializers.OpenEndUserSessionResponse},
    )
    def post(self, request: Request) -> Response:
        """Open a session for an anonymous end user of a creator."""
        opened = end_users.open_session(**validated(serializers.OpenEndUserSessionRequest, request))
        return Response(serializers.OpenEndUserSessionResponse(opened).data, status=201)


class EndUserSessionView(APIView):
    """End the session of one of your end users."""

    @operation(responses={204: None})
    def delete(self, request: Request, session_id: UUID) -> Response:
        ended = end_users.end_session(
            creator_id=caller(request).id, session_id=session_id, client=client_info(request)
        )
        if not ended:
            raise Http404
        return Response(status=204)


class EndUserAuthentication(BaseAuthentication):
    """Accepts an end user's token, not a creator's."""

    def authenticate(self, request: Request) -> tuple[Any, EndUserToken] | None:
        text = bearer_of(request._request)
        if not text:
            raise InvalidTokenError
        token = EndUserToken.verified(text)
        return end_users.current_session(token), token

    def authenticate_header(self, request: Request) -> str:
        return WWW_AUTHENTICATE


@owns_transactions
class CurrentEndUserSessionView(APIView):
    """The end user's own session."""

    authentication_classes = (EndUserAuthentication,)
    permission_classes = ()

    @operation(responses={200: serializers.EndUserSessionResponse})
    def get(self, request: Request) -> Response:
        return Response(serializers.EndUserSessionResponse(request.user).data)

    @operation(responses={204: None})
    def delete(self, request: Request) -> Response:
        """End the end user's own session."""
        session: Any = request.user
        end_users.end_session(
            creator_id=session.creator_id, session_id=session.pk, client=client_info(request)
        )
        return Response(status=204)
