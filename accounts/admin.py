from django.contrib import admin
from django.http import HttpRequest

from .models import Creator


@admin.register(Creator)
class CreatorAdmin(admin.ModelAdmin[Creator]):
    """Look, don't touch: what an operator may do to an account has services of its own."""

    list_display = ("email", "display_name", "holds_email", "is_active", "is_staff", "created_at")
    search_fields = ("=id", "email__startswith")
    fields = (
        "id", "email", "holds_email", "email_verified_at", "display_name", "is_active", "is_staff",
        "is_superuser", "created_at", "last_login",
    )  # fmt: skip
    readonly_fields = fields
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False
