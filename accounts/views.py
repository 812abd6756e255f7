"""HTML pages for creators. They call the same services as the API."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

from django.conf import settings
from django.forms import Form
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from audit.requests.client_info import client_info
from tenancy.middleware import owns_transactions

from . import link_tokens
from .exceptions import (
    RETRY_AFTER,
    AccountLockedError,
    BusyError,
    InvalidLinkError,
    InvalidTokenError,
    LimitsUnavailableError,
    RateLimitedError,
    WeakPasswordError,
    WrongPasswordError,
)
from .forms import NewPasswordForm, PasswordForm, PasswordResetForm, UndoForm
from .ratelimits.limits import check_rate
from .ratelimits.slots import hashing_slot
from .services import email_change, email_verification, password_reset, profile

View = Callable[..., HttpResponse]


def service_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor for all pages."""
    return {"service_name": settings.SERVICE_NAME, "public_url": settings.PUBLIC_URL}


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403_csrf.html", status=403)


def page(scope: str, *, hashes_passwords: bool = False) -> Callable[[View], View]:
    """Decorate a page. Its POST shares the rate limit of its API endpoint; it needs a slot if it hashes."""

    def decorate(view: View) -> View:
        protected = csrf_protect(view)

        @owns_transactions
        @csrf_exempt  # `protected` checks it, after the method was checked
        @sensitive_post_parameters()
        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method == "POST":
                    check_rate(request, scope)
                with hashing_slot() if hashes_passwords and request.method == "POST" else nullcontext():
                    return protected(request, *args, **kwargs)
            except (RateLimitedError, AccountLockedError) as error:
                return _try_later(request, "rate_limited", 429, error.retry_after)
            except (LimitsUnavailableError, BusyError):
                return _try_later(request, "busy", 503, RETRY_AFTER)

        return limited

    return decorate


def _try_later(request: HttpRequest, name: str, status: int, retry_after: int) -> HttpResponse:
    response = render(request, f"accounts/{name}.html", {"retry_after": retry_after}, status=status)
    response["Retry-After"] = str(retry_after)
    return response


def _post_data(request: HttpRequest) -> QueryDict | None:
    """The data of a POST, else None, which leaves a form unbound."""
    return request.POST if request.method == "POST" else None


def _render_form(request: HttpRequest, template: str, form: Form, **context: Any) -> HttpResponse:
    """Render a form. With errors the first field has the focus, because passwords must be entered again."""
    if form.errors:
        next(iter(form.fields.values())).widget.attrs["autofocus"] = True
    return render(request, template, {"form": form, **context}, status=400 if form.errors else 200)


def _invalid_link(request: HttpRequest, restart: str | None = None) -> HttpResponse:
    context = {"restart_url": reverse(restart)} if restart else {}
    return render(request, "accounts/invalid_link.html", context, status=400)


def _email_of(uid: str, token: str) -> str:
    """The address of a valid link, for password managers. The link proves access to the mailbox."""
    return profile.email_of(link_tokens.parse(uid, token).creator_id)


def _plain_page(template: str) -> View:
    return page("default")(lambda request: render(request, template))


verify_email_done = _plain_page("accounts/verify_email_done.html")
reset_done = _plain_page("accounts/reset_done.html")
email_change_done = _plain_page("accounts/email_change_done.html")


@page("email_verify", hashes_passwords=True)
def verify_email(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only the POST with the password uses the link."""
    form = PasswordForm(_post_data(request), help_text=_("The one you chose when you signed up."))
    if request.method == "POST" and form.is_valid():
        try:
            email_verification.verify_email(
                uid=uid, token=token, client=client_info(request), **form.cleaned_data
            )
        except InvalidLinkError:
            form.add_error("password", _("This is not the password of this sign-up."))
        else:
            return redirect("verify-email-done")
    if not email_verification.is_usable(uid, token):
        return _invalid_link(request)
    return _render_form(request, "accounts/verify_email.html", form, email=_email_of(uid, token))


@page("password_reset")
def request_password_reset(request: HttpRequest) -> HttpResponse:
    form = PasswordResetForm(_post_data(request))
    if request.method == "POST" and form.is_valid():
        password_reset.request_reset(email=form.cleaned_data["email"], client=client_info(request))
        return redirect("password-reset-done")
    return _render_form(request, "accounts/password_reset.html", form)


@page("default")
def password_reset_done(request: HttpRequest) -> HttpResponse:
    minutes = settings.PASSWORD_RESET_TOKEN_LIFETIME.total_seconds() // 60
    context = {"expires_minutes": int(minutes), "restart_url": reverse("password-reset")}
    return render(request, "accounts/password_reset_done.html", context)


@page("password_reset_confirm", hashes_passwords=True)
def reset_password(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only the POST with a valid password uses the link."""
    form = NewPasswordForm(_post_data(request))
    if request.method == "POST" and form.is_valid():
        try:
            password_reset.reset_password(
                uid=uid,
                token=token,
                new_password=form.cleaned_data["new_password"],
                client=client_info(request),
            )
        except WeakPasswordError as error:
            for _code, message in error.errors:
                form.add_error("new_password", message)
        except InvalidLinkError:
            return _invalid_link(request, "password-reset")
        else:
            return redirect("reset-done")
    if not password_reset.is_usable(uid, token):
        return _invalid_link(request, "password-reset")
    return _render_form(request, "accounts/reset.html", form, email=_email_of(uid, token))


@owns_transactions
@require_safe
def change_password(request: HttpRequest) -> HttpResponse:
    """For password managers (W3C, A Well-Known URL for Changing Passwords). The reset needs no session."""
    return redirect("password-reset")


@page("default", hashes_passwords=True)
def confirm_email_change(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only a POST with the password moves the account: mail scanners may submit a form without fields."""
    change = email_change.pending_change(uid, token)
    if change is None:
        return _invalid_link(request)
    form = PasswordForm(_post_data(request), help_text=_("The one you sign in with."))
    if request.method == "POST" and form.is_valid():
        client, password = client_info(request), form.cleaned_data["password"]
        try:
            email_change.verify_password(change, password=password, client=client)
            email_change.confirm_change(uid=uid, token=token, client=client)
        except WrongPasswordError:
            form.add_error("password", _("This is not the password of the account."))
        except (InvalidLinkError, InvalidTokenError):
            return _invalid_link(request)
        else:
            return redirect("email-change-done")
    # not the old address: if the new one was mistyped, a stranger sees this page
    return _render_form(request, "accounts/email_change.html", form, email=change.new_email)


@page("default")
def undo_email_change(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only a POST with the box ticked undoes the change: mail scanners may submit a form without fields.

    The password is not required, because an attacker may have changed it.
    """
    form = UndoForm(_post_data(request))
    if request.method == "POST" and form.is_valid():
        try:
            link = email_change.undo_change(uid=uid, token=token, client=client_info(request))
        except InvalidLinkError:
            return _invalid_link(request)
        return redirect(reverse("reset", args=[link.uid, link.token]) + "?undone")
    if not email_change.can_undo(uid, token):
        return _invalid_link(request)
    return _render_form(request, "accounts/email_change_undo.html", form)
