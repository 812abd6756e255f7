"""What the pages of the sign-in have in common."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from accounts.models import Authenticator, Creator

Page = Callable[[HttpRequest], HttpResponse]


def operator_of(request: HttpRequest) -> Creator:
    """Who has signed in, at least halfway."""
    return request.user  # type: ignore[return-value]


def authenticator_in(request: HttpRequest) -> Authenticator | None:
    """The app that vouched for this session, None before it has."""
    return getattr(request.user, "otp_device", None)


def next_page(request: HttpRequest) -> str:
    """Where the operator was going: of this site, or its first page."""
    wanted = request.GET.get("next", "")
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("admin:index")


def go_to(name: str, *, then: str) -> HttpResponse:
    return redirect(f"{reverse(f'admin:{name}')}?{urlencode({'next': then})}")


def show(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    context |= {**admin.site.each_context(request), "title": title, "next": next_page(request)}
    return TemplateResponse(request, f"admin/{template}.html", context)


def password_verified_required(view: Page) -> Page:
    """For staff who have given their password, whether or not a code has followed."""

    @never_cache
    def checked(request: HttpRequest) -> HttpResponse:
        if request.user.is_active and request.user.is_staff:
            return view(request)
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return checked
