from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from accounts.email_addresses import InvalidAddressError
from accounts.exceptions import (
    AddressTakenError,
    CreatorNotFoundError,
    JustificationRequiredError,
    LimitsUnavailableError,
    RateLimitedError,
)
from accounts.models import Creator
from accounts.services.operators import justification, search
from accounts.services.operators.creator_detail import CreatorDetail, get_detail
from accounts.services.operators.support import SUPPORT_ACTIONS, SupportAction, perform
from audit.requests.client_info import client_info

from .email_addresses import AddressColumn
from .forms import ConfirmationForm, DeletionForm, JustificationForm
from .helpers import operator_of
from .reauthentication import require_reauthentication

ERRORS = {
    AddressTakenError: _lazy("Another account has verified this address, so it can't be marked here."),
    RateLimitedError: _lazy("This address got too many mails. Try again in an hour."),
    LimitsUnavailableError: _lazy("The rate limits are unavailable at the moment. Try again later."),
}


@contextmanager
def _not_found_as_404() -> Iterator[None]:
    try:
        yield
    except CreatorNotFoundError as error:
        raise Http404 from error


class BoundedPaginator(Paginator):
    """Counts only the first rows: counting all would read the whole table, and so would the last page."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows[: search.MAX_RESULTS].count())


class WeakHashFilter(admin.SimpleListFilter):
    title = _lazy("password hash")
    parameter_name = "hash"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("weak", _lazy("weak (bcrypt)"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Creator]) -> QuerySet[Creator]:
        return queryset & Creator.objects.weak_password_hashes() if self.value() == "weak" else queryset


@admin.register(Creator)
class CreatorAdmin(AddressColumn, admin.ModelAdmin[Creator]):
    """A searchable list, a page for each creator, and the support actions.

    Django's own pages of an object are left out: they would show and change it without a justification.
    """

    list_display = ("address", "display_name", "is_verified", "is_active", "created_at")
    list_filter = (WeakHashFilter,)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("email",)  # shows the search box; get_search_results searches
    search_help_text = _lazy("An id, or beginnings of parts of the address: ada.love, lovel, example.com")
    paginator = BoundedPaginator
    show_full_result_count = False
    preserve_filters = False  # keeps the searched address out of later URLs
    actions = None

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="accounts_creator_changelist"),
            path("<uuid:creator_id>/change/", view(self.detail_view), name="accounts_creator_change"),
            path("<uuid:creator_id>/<slug:name>/", view(self.action_view), name="accounts_creator_action"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Creator]:
        """Without operators, who have an admin of their own."""
        return Creator.objects.tenants().defer("password")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term.strip():
            return queryset, False
        try:
            result = search.find_creators(search_term)
        except InvalidAddressError as error:
            messages.warning(request, error.message)
            return queryset.none(), False
        if not result.is_complete:
            message = _("More than %(number)d creators have such an address; here are some of them.")
            messages.warning(request, message % {"number": search.MAX_RESULTS})
        return queryset.filter(pk__in=result.ids), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow no other filters in the URL: they could reveal a password hash letter by letter."""
        return lookup == WeakHashFilter.parameter_name

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Creator | None = None) -> bool:
        return False

    @admin.display(description=_lazy("verified"), boolean=True)
    def is_verified(self, creator: Creator) -> bool:
        return creator.email_verified_at is not None

    def detail_view(self, request: HttpRequest, creator_id: UUID) -> HttpResponse:
        """Show the creator's account, or ask for a justification first."""
        with _not_found_as_404():
            try:
                detail = self._get_detail(request, creator_id)
            except JustificationRequiredError:
                return self._ask_justification(request, creator_id)
        actions = {name: action for name, action in detail.actions.items() if self._may(request, action)}
        context = {"title": str(detail.creator), "detail": detail, "actions": actions}
        return self._render(request, "detail", context)

    def action_view(self, request: HttpRequest, creator_id: UUID, name: str) -> HttpResponse:
        """Ask for a confirmation, then run the support action."""
        action = SUPPORT_ACTIONS.get(name)
        if action is None:
            raise Http404
        if not self._may(request, action):
            raise PermissionDenied
        if action.is_dangerous and (redirection := require_reauthentication(request)):
            return redirection
        with _not_found_as_404():
            try:
                return self._confirm(request, creator_id, name)
            except JustificationRequiredError:
                return redirect("admin:accounts_creator_change", creator_id)

    def _confirm(self, request: HttpRequest, creator_id: UUID, name: str) -> HttpResponse:
        creator, action = self._get_detail(request, creator_id).creator, SUPPORT_ACTIONS[name]
        form_class = DeletionForm if name == "delete" else ConfirmationForm
        form = form_class(request.POST if request.method == "POST" else None, email=creator.email)
        if not form.is_valid():
            context = {"title": action.label, "action": action, "creator": creator, "form": form}
            return self._render(request, "action", context)
        self._execute(request, creator_id, name)
        if name == "delete":
            return redirect("admin:accounts_creator_changelist")
        return redirect("admin:accounts_creator_change", creator_id)

    def _execute(self, request: HttpRequest, creator_id: UUID, name: str) -> None:
        operator_id, client = operator_of(request).pk, client_info(request)
        try:
            done = perform(name, creator_id=creator_id, operator_id=operator_id, client=client)
        except (AddressTakenError, RateLimitedError, LimitsUnavailableError) as error:
            messages.error(request, str(ERRORS[type(error)]))
        else:
            messages.info(request, str(SUPPORT_ACTIONS[name].done) if done else _("There was nothing to do."))

    def _get_detail(self, request: HttpRequest, creator_id: UUID) -> CreatorDetail:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_detail(creator_id=creator_id, operator_id=operator_of(request).pk)

    def _ask_justification(self, request: HttpRequest, creator_id: UUID) -> HttpResponse:
        form = JustificationForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._render(request, "justification", {"title": _("A creator's account"), "form": form})
        justification.record_justification(
            creator_id=creator_id,
            operator_id=operator_of(request).pk,
            reason=form.cleaned_data["reason"],
            client=client_info(request),
        )
        return redirect("admin:accounts_creator_change", creator_id)

    def _may(self, request: HttpRequest, action: SupportAction) -> bool:
        return request.user.has_perm(f"accounts.{action.permission}")

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/accounts/creator/{template}.html", context)
