from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import Creator


@admin.register(Creator)
class CreatorAdmin(admin.ModelAdmin[Creator]):
    """Look, don't touch: what an operator may do to an account has services of its own."""

    list_display = ("email", "display_name", "holds_email", "is_active", "created_at")
    search_fields = ("=id", "email__startswith")
    fields = (
        "id", "email", "holds_email", "email_verified_at", "display_name", "is_active",
        "created_at", "last_login",
    )  # fmt: skip
    readonly_fields = fields
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Creator]:
        """Without the staff, whom superusers alone look after."""
        return super().get_queryset(request).filter(is_staff=False, is_superuser=False)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False
