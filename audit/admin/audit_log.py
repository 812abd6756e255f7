"""The audit log in the admin: search, overview and export. Not even superusers can change events."""

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

from .charts import event_panels, sign_in_chart
from .export import FORMATS
from .forms import EventFilter
from .overview import DAY, WEEK, read_overview


class PositionForm(forms.Form):
    """The id after or before which a page of the list starts."""

    newer = forms.UUIDField(required=False)
    older = forms.UUIDField(required=False)


@admin.register(AuditLog)
class AuditLogAdmin(admin.ModelAdmin[AuditLog]):
    def has_add_permission(self, request: HttpRequest, obj: AuditLog | None = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

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
        self._check_view_permission(request)
        form, position = EventFilter(request.GET), PositionForm(request.GET)
        is_valid = form.is_valid() and position.is_valid()
        query = {name: value for name, value in request.GET.items() if name in form.fields and value}
        return self._render(
            request,
            "change_list",
            status=200 if is_valid else 400,
            title=_("Audit log"),
            form=form,
            position=position,
            page=queries.entry_page(form.events(), **position.cleaned_data) if is_valid else None,
            formats=FORMATS if self.has_export_permission(request) else (),
            filter=urlencode(query),
        )

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        self._check_view_permission(request)
        (entry,) = queries.entries(AuditLog.objects.using(OPERATOR).filter(pk=_id(object_id))) or (None,)
        if entry is None:
            raise Http404
        detail = json.dumps(entry.event.detail, ensure_ascii=False, indent=2)
        return self._render(request, "change_form", title=entry.summary, entry=entry, detail=detail)

    @method_decorator(require_POST)
    def export_view(self, request: HttpRequest) -> Any:
        """Stream all matching events as a file. The export is recorded on the operator's account."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        if response := self._require_reauthentication(request):
            return response
        form, format_ = EventFilter(request.POST), request.POST.get("format", "")
        if format_ not in FORMATS:
            raise BadRequest
        if not form.is_valid():
            return self._render(request, "change_list", status=400, title=_("Audit log"), form=form)
        now, client, operator = timezone.now(), client_info(request), request.user.pk
        detail: dict[str, Any] = {"filter": form.event_detail(), "format": format_}
        record(Event.AUDIT_EXPORTED, client=client, creator_id=operator, **detail)
        write, content_type = FORMATS[format_]
        name = f"audit-{now:%Y%m%d-%H%M%S}.{format_}"
        return StreamingHttpResponse(
            write(queries.entry_batches(form.events(until=now))),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @method_decorator(require_safe)
    def overview_view(self, request: HttpRequest) -> HttpResponse:
        self._check_view_permission(request)
        overview = read_overview(timezone.now())
        charts: dict[str, Any] = {"day": sign_in_chart(overview, DAY), "week": sign_in_chart(overview, WEEK)}
        panels, title = event_panels(overview), _("Security overview")
        return self._render(request, "overview", title=title, overview=overview, panels=panels, **charts)

    def _check_view_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _require_reauthentication(self, request: HttpRequest) -> HttpResponse | None:
        """A redirect if the operator must reauthenticate first. Other admin sites may not require it."""
        check = getattr(self.admin_site, "require_reauthentication", None)
        return check(request) if check else None

    def _render(self, request: HttpRequest, name: str, *, status: int = 200, **context: Any) -> HttpResponse:
        defaults = {"opts": self.opts, "creator_page": self._creator_page(request)}
        return TemplateResponse(
            request,
            f"admin/audit/auditlog/{name}.html",
            {**self.admin_site.each_context(request), **defaults, **context},
            status=status,
        )

    def _creator_page(self, request: HttpRequest) -> str:
        """The URL name of a creator's admin page; "" if this operator may not see it."""
        model, site = get_user_model(), self.admin_site
        if not site.is_registered(model) or not site.get_model_admin(model).has_view_permission(request):
            return ""
        return f"admin:{model._meta.app_label}_{model._meta.model_name}_change"


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error
