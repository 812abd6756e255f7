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
from .helpers import next_url, password_verified_required, redirect_with_next, verified_authenticator

ADMIN_APPS = {"accounts", "audit"}
EXCLUDED_URLS = {"login", "logout", "view_on_site"}  # two are replaced, the third answers 500 to invalid ids


class OperatorSite(AdminSite):
    """Django's admin, for operators who gave their password and second factor.

    After the password alone, every page redirects to the page of the second factor.
    """

    site_title = site_header = _("Creator accounts")
    index_title = _("For operators")
    site_url = None
    login_form = OperatorSignInForm

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Ignore the admins of other apps, which know neither our permissions nor the audit log."""
        if admin_class is not None and admin_class.__module__.split(".")[0] in ADMIN_APPS:
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and verified_authenticator(request) is not None

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        return super().get_app_list(request, app_label) if self.has_permission(request) else []

    def get_urls(self) -> list[Any]:
        # all pages that verify a password or code share one rate limit
        limited = page("login", hashes_passwords=True)
        reauthenticate = self.admin_view(reauthentication.reauthenticate)
        second_factor, set_up = map(password_verified_required, (mfa.second_factor, mfa.set_up))
        recovery_codes = self.admin_view(mfa.recovery_codes)
        return [
            path("login/", limited(self.login), name="login"),
            path("logout/", password_verified_required(self.logout), name="logout"),
            path("confirm/", limited(reauthenticate), name="reauthenticate"),
            path("second-factor/", limited(second_factor), name="second_factor"),
            path("second-factor/set-up/", limited(set_up), name="second_factor_set_up"),
            path("second-factor/recovery-codes/", recovery_codes, name="recovery_codes"),
            *(url for url in super().get_urls() if getattr(url, "name", "") not in EXCLUDED_URLS),
        ]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Verify the password in a new session, then redirect to the second factor."""
        if request.method == "POST":
            logout(request)
        elif self.has_permission(request):
            return redirect(next_url(request))
        elif super().has_permission(request):
            return redirect_with_next("second_factor", next_url=next_url(request))
        response = super().login(request, extra_context)
        if request.user.is_authenticated:
            request.session[SIGNED_IN_AT] = time.time()
        return response

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if request.method == "POST":
            record(Event.OPERATOR_SIGNED_OUT, client=client_info(request), creator_id=request.user.pk)
        return super().logout(request, extra_context)

    def require_reauthentication(self, request: HttpRequest) -> HttpResponse | None:
        """See `reauthentication.require_reauthentication`; for apps that can't import `accounts`."""
        return reauthentication.require_reauthentication(request)

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
    """The only instance: models that register while Django creates its default site must not make another."""
    return OperatorSite()
