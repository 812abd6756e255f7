from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from accounts.models import RefusedMail


@admin.register(RefusedMail)
class RefusedMailAdmin(admin.ModelAdmin[RefusedMail]):
    """A read-only list of emails that the mail server refused permanently."""

    list_display = ("at", "email", "kind", "stage", "code", "reply")
    list_display_links = None
    ordering = ("-at", "-id")
    sortable_by = ()
    search_fields = ("email__startswith",)
    search_help_text = _("The beginning of the address")
    show_full_result_count = False
    preserve_filters = False  # keeps the searched address out of later URLs
    actions = None

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="accounts_refusedmail_changelist")]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefusedMail | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RefusedMail | None = None) -> bool:
        return False
