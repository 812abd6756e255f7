"""Doors to the sessions of a creator, and to those of the creator's visitors."""

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import limits
from accounts.exceptions import InvalidTokenError
from accounts.services import end_users, sessions
from accounts.tokens import EndUserToken
from audit.clients import client_of
from audit.pagination import NewestFirst
from tenancy.context import tenant_scope
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import WWW_AUTHENTICATE, bearer_of, caller
from .views import read


class SessionsView(ListAPIView):
    """Where you are signed in, the newest first."""

    pagination_class = NewestFirst
    serializer_class = serializers.SessionAnswer

    def get_queryset(self) -> Any:
        return sessions.live_sessions(caller(self.request).id)

    @extend_schema(responses={200: serializers.SessionAnswer(many=True), 401: serializers.Problem})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class SessionView(APIView):
    @extend_schema(responses={204: None, 401: serializers.Problem, 404: serializers.Problem})
    def delete(self, request: Request, session_id: UUID) -> Response:
        own = {"creator_id": caller(request).id, "session_id": session_id}
        if not sessions.end_session(**own, client=client_of(request)):
            raise Http404
        return Response(status=204)


@owns_transactions
class EndUserSessionsView(ListAPIView):
    """One address, two callers: anybody opens a session, a creator lists those of their visitors."""

    pagination_class = NewestFirst
    serializer_class = serializers.EndUserSessionAnswer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method != "GET":
            limits.check(request, "end_user_session")
        super().initial(request, *args, **kwargs)

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if self._opens() else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [] if self._opens() else super().get_permissions()

    def _opens(self) -> bool:
        request: Any = self.request  # None while the schema is drawn
        return request is not None and request.method == "POST"

    def get_queryset(self) -> Any:
        return end_users.live_sessions(caller(self.request).id)

    @extend_schema(responses={200: serializers.EndUserSessionAnswer(many=True), 401: serializers.Problem})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with tenant_scope(caller(request).id):
            return super().get(request, *args, **kwargs)

    @extend_schema(
        request=serializers.OpenEndUserSessionRequest,
        responses={
            201: serializers.OpenEndUserSessionAnswer,
            400: serializers.Problem,
            404: serializers.Problem,
        },
    )
    def post(self, request: Request) -> Response:
        opened = end_users.open_session(**read(serializers.OpenEndUserSessionRequest, request))
        return Response(serializers.OpenEndUserSessionAnswer(opened).data, status=201)


class EndUserSessionView(APIView):
    @extend_schema(responses={204: None, 401: serializers.Problem, 404: serializers.Problem})
    def delete(self, request: Request, session_id: UUID) -> Response:
        own = {"creator_id": caller(request).id, "session_id": session_id}
        if not end_users.end_session(**own, client=client_of(request)):
            raise Http404
        return Response(status=204)


class EndUserAuthentication(BaseAuthentication):
    """The visitor's own token; a creator's is none."""

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
    authentication_classes = (EndUserAuthentication,)
    permission_classes = ()

    @extend_schema(responses={200: serializers.EndUserSessionAnswer, 401: serializers.Problem})
    def get(self, request: Request) -> Response:
        return Response(serializers.EndUserSessionAnswer(request.user).data)

    @extend_schema(responses={204: None, 401: serializers.Problem})
    def delete(self, request: Request) -> Response:
        session: Any = request.user
        end_users.end_session(creator_id=session.creator_id, session_id=session.pk, client=client_of(request))
        return Response(status=204)
