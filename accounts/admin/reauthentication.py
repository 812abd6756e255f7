"""Dangerous actions require the password or a TOTP code again, given within the last minutes."""

import time
from datetime import timedelta
from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.services.operators import login
from audit.requests.client_info import client_info

from .forms import ReauthenticationForm
from .helpers import next_url, operator_of, redirect_with_next, render_page

LIFETIME = timedelta(minutes=5)
_REAUTHENTICATED_AT = "reauthenticated_at"  # in the session


def require_reauthentication(request: HttpRequest) -> HttpResponse | None:
    """A redirect to the reauthentication page, None if the operator reauthenticated recently.

    The page redirects back, but does not repeat a POST: the operator has to send the form again.
    """
    if time.time() - request.session.get(_REAUTHENTICATED_AT, 0) < LIFETIME.total_seconds():
        return None
    return redirect_with_next("reauthenticate", next_url=_current_page(request))


def reauthenticate(request: HttpRequest) -> HttpResponse:
    form = ReauthenticationForm(request.POST or None)
    if form.is_valid():
        with form.lockout_as_error():
            credential = form.cleaned_data["credential"]
            if login.reauthenticate(operator_of(request), credential=credential, client=client_info(request)):
                request.session.cycle_key()
                request.session[_REAUTHENTICATED_AT] = time.time()
                messages.info(request, _("Identity confirmed. Please repeat the action."))
                return redirect(next_url(request))
            form.add_credential_error()
    return render_page(request, "reauthenticate", _("Confirm your identity"), form=form)


def _current_page(request: HttpRequest) -> str:
    """The requested page, or for a POST the page of its form (our Referrer-Policy sends its path)."""
    if request.method == "GET":
        return request.get_full_path()
    referrer = urlsplit(request.headers.get("Referer", ""))
    return (referrer.path + (f"?{referrer.query}" if referrer.query else "")) or reverse("admin:index")
