"""Helpers of the sign-in pages."""

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

View = Callable[[HttpRequest], HttpResponse]


def operator_of(request: HttpRequest) -> Creator:
    """The operator who gave the password, and possibly no code yet."""
    return request.user  # type: ignore[return-value]


def verified_authenticator(request: HttpRequest) -> Authenticator | None:
    """The authenticator that verified this session, None before a code was given."""
    return getattr(request.user, "otp_device", None)


def next_url(request: HttpRequest) -> str:
    """The `next` parameter if it is a URL of this site, else the admin's index."""
    url = request.GET.get("next", "")
    if url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure()):
        return url
    return reverse("admin:index")


def redirect_with_next(name: str, *, next_url: str) -> HttpResponse:
    return redirect(f"{reverse(f'admin:{name}')}?{urlencode({'next': next_url})}")


def render_page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    context |= {**admin.site.each_context(request), "title": title, "next": next_url(request)}
    return TemplateResponse(request, f"admin/{template}.html", context)


def password_verified_required(view: View) -> View:
    """Allow staff who gave their password, even if no code has followed."""

    @never_cache
    def checked(request: HttpRequest) -> HttpResponse:
        if request.user.is_active and request.user.is_staff:
            return view(request)
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return checked
