"""Endpoints for resource servers, which authenticate by API key: RFC 7662 and RFC 7009."""

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.exceptions import InvalidTokenError
from accounts.services import api_keys, introspection
from audit.requests.client_info import client_info
from tenancy.middleware import owns_transactions

from . import serializers
from .authentication import WWW_AUTHENTICATE, bearer_of
from .base import validated
from .openapi import operation

FORM = {"application/x-www-form-urlencoded": serializers.TokenRequest}


class APIKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, str]:
        key = bearer_of(request._request)
        if not key:
            raise InvalidTokenError
        return api_keys.authenticate(key), "api_key"

    def authenticate_header(self, request: Request) -> str:
        return WWW_AUTHENTICATE


@owns_transactions
class ResourceServerView(APIView):
    authentication_classes = (APIKeyAuthentication,)
    permission_classes = ()
    parser_classes = (FormParser,)


class IntrospectView(ResourceServerView):
    """Introspect a token: whether it is active, and whose it is (RFC 7662)."""

    @operation(request=FORM, responses={200: serializers.IntrospectResponse})
    def post(self, request: Request) -> Response:
        return Response(introspection.introspect(validated(serializers.TokenRequest, request)["token"]))


class RevokeView(ResourceServerView):
    """Revoke a token; revoking a refresh token ends its session (RFC 7009)."""

    @operation(request=FORM, responses={200: dict})
    def post(self, request: Request) -> Response:
        introspection.revoke(
            validated(serializers.TokenRequest, request)["token"], client=client_info(request)
        )
        return Response({})
