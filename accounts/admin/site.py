import time
from functools import cache, partial
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth import logout
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from accounts.middleware import SIGNED_IN_AT
from accounts.views import page
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import client_info

from . import mfa, reauthentication
from .forms import OperatorPasswordChangeForm, OperatorSignInForm
from .helpers import authenticator_in, go_to, next_page, password_verified_required

ADMIN_APPS = {"accounts", "audit"}
WITHOUT = {"login", "logout", "view_on_site"}  # of Django's: two are ours, the third answers 500 to odd ids


class OperatorSite(AdminSite):
    """Django's admin behind password and second factor.

    Who has given the password alone is sent from every page to that of the second factor.
    """

    site_title = site_header = _("Creator accounts")
    index_title = _("For operators")
    site_url = None
    login_form = OperatorSignInForm

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Only what this house wrote an admin for: others' would come without its rights and records."""
        if admin_class is not None and admin_class.__module__.split(".")[0] in ADMIN_APPS:
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and authenticator_in(request) is not None

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        return super().get_app_list(request, app_label) if self.has_permission(request) else []

    def get_urls(self) -> list[Any]:
        limited = page("login", hashes_passwords=True)  # a guess is a guess, at whichever of these
        given, set_up = (password_verified_required(view) for view in (mfa.verify_code, mfa.set_up))
        renewed = self.admin_view(mfa.recovery_codes)
        return [
            path("login/", limited(self.login), name="login"),
            path("logout/", password_verified_required(self.logout), name="logout"),
            path("confirm/", limited(self.admin_view(reauthentication.confirm)), name="confirm"),
            path("second-factor/", limited(given), name="second_factor"),
            path("second-factor/set-up/", limited(set_up), name="second_factor_set_up"),
            path("second-factor/recovery-codes/", renewed, name="recovery_codes"),
            *(url for url in super().get_urls() if getattr(url, "name", "") not in WITHOUT),
        ]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Every sign-in begins with an empty session, and leads to the second factor."""
        if request.method == "POST":
            logout(request)
        elif self.has_permission(request):
            return redirect(next_page(request))
        elif super().has_permission(request):
            return go_to("second_factor", then=next_page(request))
        response = super().login(request, extra_context)
        if request.user.is_authenticated:
            request.session[SIGNED_IN_AT] = time.time()
        return response

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if request.method == "POST":
            record(Event.OPERATOR_SIGNED_OUT, client=client_info(request), creator_id=request.user.pk)
        return super().logout(request, extra_context)

    def step_up(self, request: HttpRequest) -> HttpResponse | None:
        """The way to the confirmation, None where it was just given; for rooms that know no accounts."""
        return (
            None
            if reauthentication.has_stepped_up(request)
            else reauthentication.redirect_to_reauthentication(request)
        )

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        view = PasswordChangeView.as_view(
            form_class=partial(OperatorPasswordChangeForm, client=client_info(request)),
            success_url=reverse("admin:password_change_done"),
            template_name="registration/password_change_form.html",
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)


@cache
def operator_site() -> OperatorSite:
    """One site, also where its parts register themselves while Django is about to make it."""
    return OperatorSite()
