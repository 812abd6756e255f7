from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from accounts.models import ApiKey
from accounts.services import api_keys
from audit.requests.client_info import client_info

from .reauthentication import require_reauthentication


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """API keys of resource servers. The command `create_api_key` creates them and prints the key once."""

    list_display = ("name", "created_at", "last_used_at", "revoked_at", "revocation")
    list_display_links = None
    ordering = ("name",)
    sortable_by = ()
    search_fields = ("name",)
    show_full_result_count = False
    actions = None

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="accounts_apikey_changelist"),
            path("<uuid:key_id>/revoke/", view(self.revoke), name="accounts_apikey_revoke"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return ApiKey.objects.defer("digest")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    @admin.display(description="")
    def revocation(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return ""
        url = reverse("admin:accounts_apikey_revoke", args=[key.pk])
        return format_html('<a href="{}" aria-label="{} {}">{}</a>', url, _("Revoke"), key.name, _("Revoke"))

    def revoke(self, request: HttpRequest, key_id: UUID) -> HttpResponse:
        if not request.user.has_perm("accounts.revoke_apikey"):
            raise PermissionDenied
        if redirection := require_reauthentication(request):
            return redirection
        key = get_object_or_404(self.get_queryset(request), pk=key_id)
        if request.method == "POST":
            api_keys.revoke_api_key(key.name, operator_id=request.user.pk, client=client_info(request))
            messages.info(request, _("The key is revoked."))
            return redirect("admin:accounts_apikey_changelist")
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": key.name}
        return TemplateResponse(request, "admin/accounts/apikey/revoke.html", context)
