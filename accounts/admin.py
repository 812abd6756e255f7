from typing import Any

from axes.admin import AccessAttemptAdmin
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from audit.clients import client_of

from .exceptions import AccountLockedError, RateLimitedError
from .lockouts import record_lift
from .models import Creator


class OperatorSignInForm(AdminAuthenticationForm):
    """Django's, which says when to come back where no password is looked at."""

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except AccountLockedError as error:
            sentence = _("Too many wrong passwords. You can sign in again at %(time)s UTC.")
            time = error.until.strftime("%H:%M:%S")
            raise ValidationError(sentence, code=error.code, params={"time": time}) from error
        except RateLimitedError as error:
            raise ValidationError(_("Too many attempts at once. Try again."), code=error.code) from error


admin.site.login_form = OperatorSignInForm


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
