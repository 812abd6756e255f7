"""The book as operators read it: look, search, take a copy; nobody adds, changes or deletes a line."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from audit import queries
from audit.events import Event
from audit.models import AuditLog
from audit.recorder import record
from audit.requests.client_info import client_info
from tenancy.context import OPERATOR

from .export import FORMATS
from .forms import EventFilter
from .overview import overview


class PlaceForm(forms.Form):
    """Where in the list one is; `newer` and `older` are ids."""

    newer = forms.UUIDField(required=False)
    older = forms.UUIDField(required=False)


@admin.register(AuditLog)
class AuditLogAdmin(admin.ModelAdmin[AuditLog]):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditLog | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditLog | None = None) -> bool:
        return False

    def has_export_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("audit.export_auditlog"))

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("overview/", wrap(self.overview_view), name="audit_auditlog_overview"),
            path("export/", wrap(self.export_view), name="audit_auditlog_export"),
            *super().get_urls(),
        ]

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        self._check(request)
        form, place = EventFilter(request.GET), PlaceForm(request.GET)
        page = None
        if form.is_valid() and place.is_valid():
            page = queries.page(form.events(), **place.cleaned_data)
        return self._answer(
            request,
            "change_list",
            status=200 if page else 400,
            title=_("Audit log"),
            form=form,
            place=place,
            page=page,
            formats=FORMATS if self.has_export_permission(request) else (),
            filter=urlencode(
                {name: value for name, value in request.GET.items() if name in form.fields and value}
            ),
        )

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        self._check(request)
        (line,) = queries.entries(AuditLog.objects.using(OPERATOR).filter(pk=_id(object_id))) or (None,)
        if line is None:
            raise Http404
        detail = json.dumps(line.event.detail, ensure_ascii=False, indent=2)
        return self._answer(request, "change_form", title=line.summary, line=line, detail=detail)

    @method_decorator(require_POST)
    def export_view(self, request: HttpRequest) -> Any:
        """A file of all that the filter finds. It is written into the book, on the operator's own account."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        if answer := self._step_up(request):
            return answer
        form, kind = EventFilter(request.POST), request.POST.get("format", "")
        if kind not in FORMATS:
            raise BadRequest
        if not form.is_valid():
            return self._answer(request, "change_list", status=400, title=_("Audit log"), form=form)
        now = timezone.now()
        client, operator = client_info(request), request.user.pk
        record(Event.AUDIT_EXPORTED, client=client, creator_id=operator, filter=form.facts(), format=kind)
        write, content_type = FORMATS[kind]
        name = f"audit-{now:%Y%m%d-%H%M%S}.{kind}"
        return StreamingHttpResponse(
            write(queries.batches(form.events(until=now))),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @method_decorator(require_safe)
    def overview_view(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        found = overview(timezone.now())
        return self._answer(request, "overview", title=_("Security overview"), found=found)

    def _check(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _step_up(self, request: HttpRequest) -> HttpResponse | None:
        """Where the site asks again who it is before something dangerous, the way there."""
        step_up = getattr(self.admin_site, "step_up", None)
        return step_up(request) if step_up else None

    def _answer(self, request: HttpRequest, name: str, *, status: int = 200, **context: Any) -> HttpResponse:
        own = {"opts": self.opts, "creator_page": self._creator_page(request)}
        return TemplateResponse(
            request,
            f"admin/audit/auditlog/{name}.html",
            {**self.admin_site.each_context(request), **own, **context},
            status=status,
        )

    def _creator_page(self, request: HttpRequest) -> str:
        """The name of the admin's page of a creator, "" where this operator may not see it."""
        model = get_user_model()
        if not self.admin_site.is_registered(model):
            return ""
        if not self.admin_site.get_model_admin(model).has_view_permission(request):
            return ""
        return f"admin:{model._meta.app_label}_{model._meta.model_name}_change"


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error
