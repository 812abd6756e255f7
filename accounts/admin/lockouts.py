from axes.admin import AccessAttemptAdmin
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.axes_handler import record_unlock
from accounts.email_addresses import display_email
from accounts.services.lockout import LoginScope
from audit.requests.client_info import client_info

from .email_addresses import AddressSearch


@admin.register(AccessAttempt)
class LockoutAdmin(AddressSearch, AccessAttemptAdmin):  # type: ignore[misc]
    """Axes' list of failure counts, one row per address and scope. Deleting a row unlocks the account."""

    list_display = ("address", "scope", "failures_since_start", "status", "attempt_time")
    list_filter = ()
    search_fields = ("username__startswith",)
    date_hierarchy = None
    fields = ("address", "scope", "failures_since_start", "attempt_time")
    fieldsets = None
    readonly_fields = fields
    actions = ()

    @admin.display(ordering="username", description=_("Email address"))
    def address(self, attempt: AccessAttempt) -> str:
        return display_email(str(attempt.username))

    @admin.display(ordering="user_agent")
    def scope(self, attempt: AccessAttempt) -> str:
        return str(attempt.user_agent)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessAttempt]:
        """Only superusers unlock operators: a colleague could unlock and guess again and again."""
        attempts: QuerySet[AccessAttempt] = super().get_queryset(request)
        return attempts if request.user.is_superuser else attempts.filter(user_agent=LoginScope.API)

    def has_view_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return request.user.has_perm("accounts.unlock")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: AccessAttempt) -> None:
        self.delete_queryset(request, AccessAttempt.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        locked = queryset.filter(failures_since_start__gte=settings.MAX_FAILED_LOGIN_ATTEMPTS)
        addresses = list(locked.values_list("username", flat=True))
        super().delete_queryset(request, queryset)
        for address in addresses:
            record_unlock(address, client_info(request), operator_id=request.user.pk)
