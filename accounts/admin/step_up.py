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
from urllib.parse import urlencode, urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

LASTS = timedelta(minutes=5)
_CONFIRMED_AT = "confirmed_at"  # in the session


def step_up_required(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if has_stepped_up(request):
            return method(self, request, *args, **kwargs)
        return to_confirmation(request)

    return guarded


def has_stepped_up(request: HttpRequest) -> bool:
    return time.time() - request.session.get(_CONFIRMED_AT, 0) < LASTS.total_seconds()


def note_step_up(request: HttpRequest) -> None:
    request.session[_CONFIRMED_AT] = time.time()


def to_confirmation(request: HttpRequest) -> HttpResponse:
    return redirect(f"{reverse('admin:confirm')}?{urlencode({'next': _page_of(request)})}")


def _page_of(request: HttpRequest) -> str:
    """Where a form was sent from (our Referrer-Policy tells), else what is asked for."""
    if request.method == "GET":
        return request.get_full_path()
    referrer = urlsplit(request.headers.get("Referer", ""))
    return f"{referrer.path}?{referrer.query}" if referrer.query else referrer.path or reverse("admin:index")
