"""Pages for creators: plain HTML forms over the same services as the API."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.exceptions import InvalidLinkError
from accounts.forms import VerifyEmailForm
from accounts.services import verification
from audit.clients import client_of
from tenancy.middleware import owns_transactions

page = require_http_methods(["GET", "HEAD", "POST"])


def service(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the names that every page bears."""
    return {"service_name": settings.SERVICE_NAME, "public_url": settings.PUBLIC_URL}


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403_csrf.html", status=403)


@owns_transactions
@sensitive_post_parameters()
@page
def verify_email(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A GET only looks; the POST with the password spends the link."""
    form = VerifyEmailForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            verification.verify_email(uid=uid, token=token, client=client_of(request), **form.cleaned_data)
        except InvalidLinkError:
            form.add_error("password", _("This is not the password of this sign-up."))
        else:
            return redirect("verify-email-done")
    if not verification.is_usable(uid, token):
        return render(request, "accounts/invalid_link.html", status=400)
    return render(request, "accounts/verify_email.html", {"form": form}, status=400 if form.errors else 200)


@owns_transactions
@page
def verify_email_done(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/verify_email_done.html")
