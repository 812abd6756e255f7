from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts.models import Authenticator, Operator
from accounts.permissions import ROLES
from accounts.services.operators import accounts, mfa
from audit.requests.client_info import client_info

from .email_addresses import AddressColumn, AddressSearch
from .helpers import operator_of
from .reauthentication import require_reauthentication


class RightsForm(forms.ModelForm):
    role = forms.ChoiceField(
        label=_("Role"),
        choices=[(name, name) for name in (*ROLES, accounts.SUPERUSER)],
        widget=forms.RadioSelect,
    )

    class Meta:
        model = Operator
        fields = ("is_active",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("role", accounts.role_of(self.instance))


@admin.register(Operator)
class OperatorAdmin(AddressColumn, AddressSearch, admin.ModelAdmin[Operator]):
    """For superusers only: no role has permissions on operators. Nobody can change their own rights."""

    list_display = ("address", "role", "is_active", "has_second_factor", "last_login")
    search_fields = ("email__startswith",)
    ordering = ("email",)
    readonly_fields = ("address", "last_login", "created_at", "has_second_factor")
    fields = ("address", "role", "is_active", "has_second_factor", "last_login", "created_at")
    form = RightsForm
    actions = ("reset_second_factor",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Operator]:
        has_app = Exists(Authenticator.objects.filter(user_id=OuterRef("pk")))
        staff_only = super().get_queryset(request).filter(is_staff=True).defer("password")
        return staff_only.annotate(has_app=has_app).prefetch_related("groups")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # the command `create_operator` asks for the password

    def has_delete_permission(self, request: HttpRequest, obj: Operator | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Operator | None = None) -> bool:
        return super().has_change_permission(request, obj) and obj != request.user

    @admin.display(description=_("Role"))
    def role(self, operator: Operator) -> str:
        return accounts.role_of(operator)

    @admin.display(description=_("Second factor"), boolean=True)
    def has_second_factor(self, operator: Any) -> bool:
        return bool(operator.has_app)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return False  # filters in the URL could reveal a password hash letter by letter

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if redirection := require_reauthentication(request):
            return redirection
        return super().change_view(request, object_id, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Operator, form: Any, change: Any) -> None:
        accounts.change_rights(
            obj.pk,
            role=form.cleaned_data["role"],
            is_active=form.cleaned_data["is_active"],
            by=operator_of(request).pk,
            client=client_info(request),
        )

    @admin.action(description=_("Reset the second factor"), permissions=["change"])
    def reset_second_factor(self, request: HttpRequest, queryset: QuerySet[Operator]) -> HttpResponse | None:
        if redirection := require_reauthentication(request):
            return redirection
        actor, client = operator_of(request).pk, client_info(request)
        others = queryset.exclude(pk=actor).values_list("pk", flat=True)
        number = sum(mfa.reset(pk, by=actor, client=client) for pk in others)
        message = _("Second factors reset: %(number)d. A new one is set up at the next sign-in.")
        messages.info(request, message % {"number": number})
        return None
