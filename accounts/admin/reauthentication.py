"""Dangerous things want the password, or a code, given again within the last minutes.

    @admin.action(description="Deactivate", permissions=["deactivate_creator"])
    @step_up_required
    def deactivate(self, request, queryset): ...

Around a method of a ModelAdmin or of the site: a view or an action. Who has not confirmed lately is sent to
the confirmation, and from there back to the page where he was. What he posted is not done silently: he sees
the page again and decides again.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.services.operators import login
from audit.requests.client_info import client_info

from .forms import ConfirmForm
from .helpers import go_to, next_page, operator_of, show

LASTS = timedelta(minutes=5)
_CONFIRMED_AT = "confirmed_at"  # in the session


def step_up_required(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if has_stepped_up(request):
            return method(self, request, *args, **kwargs)
        return redirect_to_reauthentication(request)

    return guarded


def has_stepped_up(request: HttpRequest) -> bool:
    return bool(time.time() - request.session.get(_CONFIRMED_AT, 0) < LASTS.total_seconds())


def redirect_to_reauthentication(request: HttpRequest) -> HttpResponse:
    return go_to("confirm", then=_page_of(request))


def confirm(request: HttpRequest) -> HttpResponse:
    """The password or a code again."""

    def judge(answer: str) -> bool:
        return login.confirm(operator_of(request), answer=answer, client=client_info(request))

    form = ConfirmForm(request.POST or None, judge=judge)
    if form.is_valid():
        request.session.cycle_key()
        request.session[_CONFIRMED_AT] = time.time()
        messages.info(request, _("Thank you. What you were about to do is not done yet: please do it now."))
        return redirect(next_page(request))
    return show(request, "confirm", _("Is it you?"), form=form)


def _page_of(request: HttpRequest) -> str:
    """Where a form was sent from (our Referrer-Policy tells), else what is asked for."""
    if request.method == "GET":
        return request.get_full_path()
    referrer = urlsplit(request.headers.get("Referer", ""))
    return (referrer.path + (f"?{referrer.query}" if referrer.query else "")) or reverse("admin:index")
