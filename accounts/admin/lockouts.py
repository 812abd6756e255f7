from axes.admin import AccessAttemptAdmin
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.lockouts import record_lift
from audit.clients import client_of


@admin.register(AccessAttempt)
class LockoutAdmin(AccessAttemptAdmin):  # type: ignore[misc]
    """axes' list of failed sign-ins, one row for each address and door; deleting one lifts its lock."""

    list_display = ("username", "door", "failures_since_start", "status", "attempt_time")
    list_filter = ()
    search_fields = ("username__startswith",)
    date_hierarchy = None
    fields = ("username", "door", "failures_since_start", "attempt_time")
    fieldsets = None
    readonly_fields = fields
    actions = ()

    @admin.display(ordering="user_agent")
    def door(self, attempt: AccessAttempt) -> str:
        return str(attempt.user_agent)

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: AccessAttempt) -> None:
        self.delete_queryset(request, AccessAttempt.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        locked = queryset.filter(failures_since_start__gte=settings.MAX_FAILED_LOGIN_ATTEMPTS)
        addresses = list(locked.values_list("username", flat=True))
        super().delete_queryset(request, queryset)
        for address in addresses:
            record_lift(address, client_of(request))
