"""Setting up an authenticator app, giving its code at each sign-in, and new recovery codes."""

from typing import Any

import django_otp
import segno
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.models import Authenticator
from accounts.services.operators import mfa
from audit.requests.client_info import client_info

from .forms import CodeForm
from .helpers import authenticator_in, go_to, next_page, operator_of, show
from .reauthentication import has_stepped_up, redirect_to_reauthentication

_NEW_SECRET = "new_secret"  # noqa: S105  in the session: encrypted, of the app that is being set up


def verify_code(request: HttpRequest) -> HttpResponse:
    """Asks for the code; once it was given, tells how things stand."""
    if authenticator := authenticator_in(request):
        left = mfa.recovery_codes_left(authenticator)
        return show(
            request,
            "second_factor",
            _("Second factor"),
            authenticator=authenticator,
            recovery_codes_left=left,
        )
    if mfa.authenticator_of(operator_of(request).pk) is None:
        return go_to("second_factor_set_up", then=next_page(request))

    def judge(code: str) -> Authenticator | None:
        return mfa.sign_in(operator_of(request), code=code, client=client_info(request))

    form = CodeForm(request.POST or None, judge=judge)
    if form.is_valid():
        _complete_login(request, form.found)
        return redirect(next_page(request))
    return show(request, "second_factor_code", _("Second factor"), form=form)


def set_up(request: HttpRequest) -> HttpResponse:
    """The first app, or another one in its place."""
    replacing = authenticator_in(request)
    if replacing is None and mfa.authenticator_of(operator_of(request).pk):
        return go_to("second_factor", then=next_page(request))
    if replacing and not has_stepped_up(request):
        return redirect_to_reauthentication(request)
    secret = _secret_of(request)

    def judge(code: str) -> Any:
        return mfa.set_up(
            operator_of(request), secret=secret, code=code, replacing=replacing, client=client_info(request)
        )

    form = CodeForm(request.POST or None, judge=judge)
    try:
        if form.is_valid():
            authenticator, codes = form.found
            _complete_login(request, authenticator)
            return _show_codes(request, codes)
    except mfa.AlreadySetUpError:  # in another window
        return redirect("admin:index")
    uri = mfa.provisioning_uri(secret, str(operator_of(request)))
    return show(
        request, "second_factor_set_up", _("Set up your second factor"),
        form=form, uri=uri, spelled=mfa.spelled(secret), replacing=replacing,
        qr_code=segno.make(uri, error="m").svg_data_uri(scale=5, light="#fff"),
    )  # fmt: skip


def recovery_codes(request: HttpRequest) -> HttpResponse:
    """New ones, in place of those that were lost or used."""
    authenticator = authenticator_in(request)
    if authenticator is None or request.method != "POST":
        return redirect("admin:second_factor")
    if not has_stepped_up(request):
        return redirect_to_reauthentication(request)
    return _show_codes(request, mfa.renew_recovery_codes(authenticator, client=client_info(request)))


def _secret_of(request: HttpRequest) -> bytes:
    """One for each session that sets up an app: nobody finds the secret of another's window."""
    if _NEW_SECRET not in request.session:
        request.session[_NEW_SECRET] = mfa.new_secret().decode()
    return str(request.session[_NEW_SECRET]).encode()


def _complete_login(request: HttpRequest, authenticator: Authenticator) -> None:
    request.session.pop(_NEW_SECRET, None)
    request.session.cycle_key()
    django_otp.login(request, authenticator)


def _show_codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return show(request, "recovery_codes", _("Your recovery codes"), codes=codes)
