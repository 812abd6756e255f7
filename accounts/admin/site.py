from functools import cache
from typing import Any

from django import forms
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.services import operators
from audit.clients import client_of

from .step_up import note_step_up


def not_looked_at(error: AccountLockedError | RateLimitedError) -> ValidationError:
    """When to come back, in a form's words."""
    if isinstance(error, RateLimitedError):
        return ValidationError(_("Too many attempts at once. Try again."), code=error.code)
    sentence = _("Too many wrong passwords. You can sign in again at %(time)s UTC.")
    time = error.until.strftime("%H:%M:%S")
    return ValidationError(sentence, code=error.code, params={"time": time})


class OperatorSignInForm(AdminAuthenticationForm):
    """Django's, which says when to come back where no password is looked at."""

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except (AccountLockedError, RateLimitedError) as error:
            raise not_looked_at(error) from error


class ConfirmForm(forms.Form):
    password = forms.CharField(
        label=_lazy("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class OperatorSite(AdminSite):
    login_form = OperatorSignInForm

    def get_urls(self) -> list[Any]:
        return [path("confirm/", self.admin_view(self.confirm), name="confirm"), *super().get_urls()]

    def confirm(self, request: HttpRequest) -> HttpResponse:
        """The password again, before something dangerous; see step_up.py."""
        form = ConfirmForm(request.POST or None)
        if form.is_valid() and self._is_confirmed(request, form):
            note_step_up(request)
            return redirect(self._next(request))
        context = {**self.each_context(request), "title": _("Confirm that it is you"), "form": form}
        return TemplateResponse(request, "admin/confirm.html", context)

    def _is_confirmed(self, request: HttpRequest, form: ConfirmForm) -> bool:
        try:
            password = form.cleaned_data["password"]
            if operators.confirm(request.user, password=password, client=client_of(request)):
                return True
            form.add_error("password", _("That is not your password."))
        except (AccountLockedError, RateLimitedError) as error:
            form.add_error(None, not_looked_at(error))
        return False

    def _next(self, request: HttpRequest) -> str:
        wanted = request.GET.get("next", "")
        if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
            return wanted
        return reverse("admin:index")

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Only what this house wrote an admin for: others' would come without its rights and records."""
        if admin_class is not None and admin_class.__module__.split(".")[0] in {"accounts", "audit"}:
            super().register(model_or_iterable, admin_class, **options)


@cache
def operator_site() -> OperatorSite:
    """One site, also where its parts register themselves while Django is about to make it."""
    return OperatorSite()
