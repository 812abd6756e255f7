"""Pages for creators: plain HTML forms over the same services as the API."""

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
from .forms import NewPasswordForm, PasswordForm, PasswordResetForm, UndoForm, VerifyEmailForm
from .ratelimits import limits
from .ratelimits.slots import hashing_slot
from .services import email_change, email_verification, password_reset, profile

Page = Callable[..., HttpResponse]


def service(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the names that every page bears."""
    return {"service_name": settings.SERVICE_NAME, "public_url": settings.PUBLIC_URL}


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "403_csrf.html", status=403)


def page(scope: str, *, hashes_passwords: bool = False) -> Callable[[Page], Page]:
    """A page whose POST shares the rate limit of its API endpoint."""

    def decorate(view: Page) -> Page:
        protected = csrf_protect(view)

        @owns_transactions
        @csrf_exempt  # until the method is known to be one of ours
        @sensitive_post_parameters()
        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if request.method != "POST":
                    return protected(request, *args, **kwargs)
                limits.check_rate(request, scope)
                with hashing_slot() if hashes_passwords else nullcontext():
                    return protected(request, *args, **kwargs)
            except (RateLimitedError, AccountLockedError) as error:
                return _later(request, "rate_limited", 429, error.retry_after)
            except (LimitsUnavailableError, BusyError):
                return _later(request, "busy", 503, RETRY_AFTER)

        return limited

    return decorate


def _later(request: HttpRequest, name: str, status: int, retry_after: int) -> HttpResponse:
    response = render(request, f"accounts/{name}.html", {"retry_after": retry_after}, status=status)
    response["Retry-After"] = str(retry_after)
    return response


def _posted(request: HttpRequest) -> QueryDict | None:
    """The data of a POST, empty or not."""
    return request.POST if request.method == "POST" else None


def _form(request: HttpRequest, template: str, form: Form, **context: Any) -> HttpResponse:
    """The page with its form; once refused, the focus is on the first field: passwords come back empty."""
    if form.errors:
        next(iter(form.fields.values())).widget.attrs["autofocus"] = True
    return render(request, template, {"form": form, **context}, status=400 if form.errors else 200)


def _invalid_link(request: HttpRequest, restart: str | None = None) -> HttpResponse:
    context = {"restart_url": reverse(restart)} if restart else {}
    return render(request, "accounts/invalid_link.html", context, status=400)


def _email_of(uid: str, token: str) -> str:
    """The address of a link that was found usable, which proves the mailbox: password managers go by it."""
    return profile.email_of(link_tokens.read(uid, token).creator_id)


@page("email_verify", hashes_passwords=True)
def verify_email(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A GET only looks; the POST with the password spends the link."""
    form = VerifyEmailForm(_posted(request))
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
    return _form(request, "accounts/verify_email.html", form, email=_email_of(uid, token))


@page("default")
def verify_email_done(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/verify_email_done.html")


@page("password_reset")
def request_password_reset(request: HttpRequest) -> HttpResponse:
    form = PasswordResetForm(_posted(request))
    if request.method == "POST" and form.is_valid():
        password_reset.request_reset(email=form.cleaned_data["email"], client=client_info(request))
        return redirect("password-reset-done")
    return _form(request, "accounts/password_reset.html", form)


@page("default")
def password_reset_done(request: HttpRequest) -> HttpResponse:
    minutes = settings.PASSWORD_RESET_TOKEN_LIFETIME.total_seconds() // 60
    context = {"expires_minutes": int(minutes), "restart_url": reverse("password-reset")}
    return render(request, "accounts/password_reset_done.html", context)


@page("password_reset_confirm", hashes_passwords=True)
def reset_password(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A GET only looks; the POST with a good password spends the link."""
    form = NewPasswordForm(_posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            password_reset.reset_password(
                uid=uid,
                token=token,
                new_password=form.cleaned_data["new_password"],
                client=client_info(request),
            )
        except WeakPasswordError as error:
            for _code, sentence in error.errors:
                form.add_error("new_password", sentence)
        except InvalidLinkError:
            return _invalid_link(request, "password-reset")
        else:
            return redirect("reset-done")
    if not password_reset.is_usable(uid, token):
        return _invalid_link(request, "password-reset")
    return _form(request, "accounts/reset.html", form, email=_email_of(uid, token))


@owns_transactions
@require_safe
def change_password(request: HttpRequest) -> HttpResponse:
    """For password managers (W3C, A Well-Known URL for Changing Passwords): a page that anybody can use."""
    return redirect("password-reset")


@page("default")
def reset_done(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/reset_done.html")


@page("default", hashes_passwords=True)
def confirm_email_change(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only a POST with the password moves the account: a mail scanner may press a bare button."""
    change = email_change.pending_change(uid, token)
    if change is None:
        return _invalid_link(request)
    form = PasswordForm(_posted(request))
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
    # never the old address: if the new one was mistyped, a stranger is reading this
    return _form(request, "accounts/email_change.html", form, email=change.new_email)


@page("default")
def email_change_done(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/email_change_done.html")


@page("default")
def undo_email_change(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Only a POST with the box ticked undoes the change: a mail scanner may press a bare button.

    The password isn't asked for, because the thief may have changed it.
    """
    form = UndoForm(_posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            link = email_change.undo_change(uid=uid, token=token, client=client_info(request))
        except InvalidLinkError:
            return _invalid_link(request)
        return redirect(reverse("reset", args=[link.uid, link.token]) + "?undone")
    if not email_change.can_undo(uid, token):
        return _invalid_link(request)
    return _form(request, "accounts/email_change_undo.html", form)
