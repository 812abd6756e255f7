"""Export, deletion and change of address of the caller's account."""

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.exceptions import AccountLockedError, InvalidLinkError, RateLimitedError, WrongPasswordError
from accounts.services import account_deletion, data_export, email_change
from audit.requests.client_info import client_info
from tenancy.middleware import owns_transactions

from . import exports, serializers
from .authentication import caller
from .base import LimitedView, PublicView, validated
from .exports import ExportResponse
from .openapi import operation

CHANGE_DETAIL = "An email with a link is on its way to the new address."
PASSWORD_ERRORS = (WrongPasswordError, AccountLockedError)


@owns_transactions
class ExportView(APIView):
    """All data of your account, except secrets and their digests."""

    @operation(RateLimitedError, responses={200: ExportResponse})
    def get(self, request: Request) -> HttpResponseBase:
        return exports.export_response(data_export.export(caller(request), client=client_info(request)))


class DeleteView(LimitedView):
    """Delete your account and its data.

    Its audit events stay, without personal data.
    """

    limit = "password_change"
    hashes_passwords = True

    @operation(*PASSWORD_ERRORS, request=serializers.PasswordRequest, responses={204: None})
    def post(self, request: Request) -> Response:
        data = validated(serializers.PasswordRequest, request)
        account_deletion.delete_account(caller(request), **data, client=client_info(request))
        return Response(status=204)


class EmailChangeView(LimitedView):
    """Change your email address.

    The new address gets a link to confirm it. The old address gets a notice with a link to undo the change
    within seven days.
    """

    limit = "password_change"
    hashes_passwords = True

    @operation(
        *PASSWORD_ERRORS, request=serializers.EmailChangeRequest, responses={202: serializers.DetailResponse}
    )
    def post(self, request: Request) -> Response:
        data = validated(serializers.EmailChangeRequest, request)
        email_change.request_change(caller(request), **data, client=client_info(request))
        return Response({"detail": CHANGE_DETAIL}, status=202)


class EmailChangeConfirmView(PublicView):
    """Confirm the new email address with the uid and token of the link."""

    @operation(InvalidLinkError, request=serializers.LinkRequest, responses={204: None})
    def post(self, request: Request) -> Response:
        email_change.confirm_change(
            **validated(serializers.LinkRequest, request), client=client_info(request)
        )
        return Response(status=204)
