"""The pages of the second factor: setting it up, verifying a code at sign-in, new recovery codes."""

import django_otp
import segno
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from accounts.models import Authenticator
from accounts.services.operators import mfa
from audit.requests.client_info import client_info

from .forms import CodeForm
from .helpers import next_url, operator_of, redirect_with_next, render_page, verified_authenticator
from .reauthentication import require_reauthentication

_NEW_SECRET = "new_secret"  # noqa: S105  session key of the encrypted secret that is being set up


def second_factor(request: HttpRequest) -> HttpResponse:
    """Show the operator's second factor, or verify it if the sign-in is not complete."""
    if authenticator := verified_authenticator(request):
        context = {"authenticator": authenticator, "codes_left": mfa.recovery_codes_left(authenticator)}
        return render_page(request, "second_factor", _("Second factor"), **context)
    if mfa.authenticator_of(operator_of(request).pk) is None:
        return redirect_with_next("second_factor_set_up", next_url=next_url(request))
    return _verify_code(request)


def _verify_code(request: HttpRequest) -> HttpResponse:
    form = CodeForm(request.POST or None)
    if form.is_valid():
        with form.lockout_as_error():
            authenticator = mfa.authenticate(
                operator_of(request), code=form.cleaned_data["credential"], client=client_info(request)
            )
            if authenticator:
                _complete_login(request, authenticator)
                return redirect(next_url(request))
            form.add_credential_error()
    return render_page(request, "second_factor_code", _("Second factor"), form=form)


def set_up(request: HttpRequest) -> HttpResponse:
    """Set up the first authenticator, or replace it after a reauthentication."""
    replacing = verified_authenticator(request)
    if replacing is None and mfa.authenticator_of(operator_of(request).pk):
        return redirect_with_next("second_factor", next_url=next_url(request))
    if replacing and (redirection := require_reauthentication(request)):
        return redirection
    return _set_up(request, _new_secret(request), replacing)


def _set_up(request: HttpRequest, secret: bytes, replacing: Authenticator | None) -> HttpResponse:
    operator, form = operator_of(request), CodeForm(request.POST or None)
    if form.is_valid():
        code, client = form.cleaned_data["credential"], client_info(request)
        try:
            result = mfa.set_up(operator, secret=secret, code=code, replacing=replacing, client=client)
        except mfa.AlreadySetUpError:
            return redirect("admin:index")
        if result:
            authenticator, codes = result
            _complete_login(request, authenticator)
            return _show_codes(request, codes)
        form.add_credential_error()
    uri = mfa.provisioning_uri(secret, str(operator))
    return render_page(
        request, "second_factor_set_up", _("Set up your second factor"),
        form=form, uri=uri, base32_secret=mfa.base32_secret(secret), replacing=replacing,
        qr_code=segno.make(uri, error="m").svg_data_uri(scale=5, light="#fff"),
    )  # fmt: skip


def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Replace the recovery codes."""
    authenticator = verified_authenticator(request)
    if authenticator is None or request.method != "POST":
        return redirect("admin:second_factor")
    if redirection := require_reauthentication(request):
        return redirection
    return _show_codes(request, mfa.renew_recovery_codes(authenticator, client=client_info(request)))


def _new_secret(request: HttpRequest) -> bytes:
    """The secret to set up. Each session has its own, so that another session can't learn it."""
    if _NEW_SECRET not in request.session:
        request.session[_NEW_SECRET] = mfa.new_secret().decode()
    return str(request.session[_NEW_SECRET]).encode()


def _complete_login(request: HttpRequest, authenticator: Authenticator) -> None:
    request.session.pop(_NEW_SECRET, None)
    request.session.cycle_key()
    django_otp.login(request, authenticator)


def _show_codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return render_page(request, "recovery_codes", _("Your recovery codes"), codes=codes)
