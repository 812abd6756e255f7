"""Doors to what owners may do with the account itself."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.services import departure, email_change
from audit.clients import client_of

from . import serializers
from .authentication import caller
from .views import LimitedView, PublicView, read

CHANGE_ANSWER = "A mail with a link is on its way to the new address."
ASKED_AGAIN = {
    400: serializers.Problem,
    401: serializers.Problem,
    403: serializers.Problem,
    429: serializers.Problem,
}


class ExportView(APIView):
    @extend_schema(responses={200: dict, 401: serializers.Problem})
    def get(self, request: Request) -> Response:
        return Response(departure.export(caller(request), client=client_of(request)))


class DeleteView(LimitedView):
    limit = "password_change"

    @extend_schema(request=serializers.PasswordRequest, responses={204: None} | ASKED_AGAIN)
    def post(self, request: Request) -> Response:
        data = read(serializers.PasswordRequest, request)
        departure.delete_account(caller(request), **data, client=client_of(request))
        return Response(status=204)


class EmailChangeView(LimitedView):
    limit = "password_change"

    @extend_schema(
        request=serializers.EmailChangeRequest, responses={202: serializers.DetailAnswer} | ASKED_AGAIN
    )
    def post(self, request: Request) -> Response:
        data = read(serializers.EmailChangeRequest, request)
        email_change.request_change(caller(request), **data, client=client_of(request))
        return Response({"detail": CHANGE_ANSWER}, status=202)


class EmailChangeConfirmView(PublicView):
    @extend_schema(request=serializers.LinkRequest, responses={204: None, 400: serializers.Problem})
    def post(self, request: Request) -> Response:
        email_change.confirm_change(**read(serializers.LinkRequest, request), client=client_of(request))
        return Response(status=204)
