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
from accounts.services.operators import creator_detail, justification, search, support
from audit.requests.client_info import client_info

from .actions import ACTION_TEXTS, ActionText, ConfirmationForm, DeletionForm, ReasonForm
from .email_addresses import AddressColumn
from .reauthentication import has_stepped_up, redirect_to_reauthentication

REFUSALS = {
    AddressTakenError: _lazy("Another account has confirmed this address; it can't be marked here."),
    RateLimitedError: _lazy("This address has had enough mails for now. Try again in an hour."),
    LimitsUnavailableError: _lazy("The service can't count mails at the moment. Try again later."),
}


def _operator(request: HttpRequest) -> UUID:
    user: Any = request.user
    return UUID(str(user.pk))


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except CreatorNotFoundError as error:
        raise Http404 from error


class BoundedPaginator(Paginator):
    """Pages of the first so many rows: neither the count nor the last page reads the whole table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows[: search.MOST].count())


class WeakHashFilter(admin.SimpleListFilter):
    title = _lazy("password hash")
    parameter_name = "hash"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("weak", _lazy("weak (bcrypt)"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Creator]) -> QuerySet[Creator]:
        return queryset & Creator.objects.weak_password_hashes() if self.value() == "weak" else queryset


@admin.register(Creator)
class CreatorAdmin(AddressColumn, admin.ModelAdmin[Creator]):
    """A list to search, and a page for each creator. What may be done to an account is services.support's.

    None of Django's own pages for an object: they would show and change it without a reason given.
    """

    list_display = ("address", "display_name", "is_verified", "is_active", "created_at")
    list_filter = (WeakHashFilter,)
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("email",)  # for the box; see get_search_results
    search_help_text = _lazy("An id, or beginnings of parts of the address: ada.love, lovel, example.com")
    paginator = BoundedPaginator
    show_full_result_count = False
    preserve_filters = False  # no address in the URLs that come after
    actions = None

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="accounts_creator_changelist"),
            path("<uuid:creator_id>/change/", view(self.page), name="accounts_creator_change"),
            path("<uuid:creator_id>/<slug:act>/", view(self.action_view), name="accounts_creator_act"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Creator]:
        """Without the staff, whom superusers alone look after."""
        return Creator.objects.tenants().defer("password")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if not search_term.strip():
            return queryset, False
        try:
            found = search.find_creators(search_term)
        except InvalidAddressError as error:
            messages.warning(request, error.message)
            return queryset.none(), False
        if not found.is_all:
            sentence = _("More than %(number)d creators have such an address; here are some of them.")
            messages.warning(request, sentence % {"number": search.MOST})
        return queryset.filter(pk__in=found.ids), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """No other filters by URL: they could ask, letter by letter, for the hash of a password."""
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

    def page(self, request: HttpRequest, creator_id: UUID) -> HttpResponse:
        """The creator's record, once the operator has said why."""
        with _found():
            try:
                record = self._record(request, creator_id)
            except JustificationRequiredError:
                return self._ask_reason(request, creator_id)
        offered = record.acts & {name for name, button in ACTION_TEXTS.items() if self._may(request, button)}
        buttons = [(name, button) for name, button in ACTION_TEXTS.items() if name in offered]
        return self._show(
            request, "page", {"title": str(record.creator), "record": record, "buttons": buttons}
        )

    def action_view(self, request: HttpRequest, creator_id: UUID, act: str) -> HttpResponse:
        """Ask once more, then do it."""
        button = ACTION_TEXTS.get(act)
        if button is None:
            raise Http404
        if not self._may(request, button):
            raise PermissionDenied
        if button.is_dangerous and not has_stepped_up(request):
            return redirect_to_reauthentication(request)
        with _found():
            try:
                return self._confirm(request, creator_id, act)
            except JustificationRequiredError:
                return redirect("admin:accounts_creator_change", creator_id)

    def _confirm(self, request: HttpRequest, creator_id: UUID, act: str) -> HttpResponse:
        creator, button = self._record(request, creator_id).creator, ACTION_TEXTS[act]
        form_class = DeletionForm if act == "delete" else ConfirmationForm
        form = form_class(request.POST if request.method == "POST" else None, email=creator.email)
        if not form.is_valid():
            context = {"title": button.label, "button": button, "creator": creator, "form": form}
            return self._show(request, "act", context)
        self._execute(request, creator_id, act)
        if act == "delete":
            return redirect("admin:accounts_creator_changelist")
        return redirect("admin:accounts_creator_change", creator_id)

    def _execute(self, request: HttpRequest, creator_id: UUID, act: str) -> None:
        try:
            done = support.perform(
                act, creator_id=creator_id, operator_id=_operator(request), client=client_info(request)
            )
        except (AddressTakenError, RateLimitedError, LimitsUnavailableError) as error:
            messages.error(request, str(REFUSALS[type(error)]))
        else:
            messages.info(request, str(ACTION_TEXTS[act].done) if done else _("There was nothing to do."))

    def _record(self, request: HttpRequest, creator_id: UUID) -> creator_detail.CreatorRecord:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return creator_detail.read(creator_id=creator_id, operator_id=_operator(request))

    def _ask_reason(self, request: HttpRequest, creator_id: UUID) -> HttpResponse:
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            justification.record_justification(
                creator_id=creator_id,
                operator_id=_operator(request),
                reason=form.cleaned_data["reason"],
                client=client_info(request),
            )
            return redirect("admin:accounts_creator_change", creator_id)
        return self._show(request, "reason", {"title": _("A creator's account"), "form": form})

    def _may(self, request: HttpRequest, button: ActionText) -> bool:
        return request.user.has_perm(f"accounts.{button.permission}")

    def _show(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        whole = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/accounts/creator/{template}.html", whole)
