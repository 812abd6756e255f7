from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.email_addresses import InvalidAddressError, display_email, search_word
from accounts.models import Creator


class AddressColumn:
    @admin.display(description=_("Email address"), ordering="email")
    def address(self, creator: Creator) -> str:
        return display_email(creator.email)


class AddressSearch:
    """Search by the stored form of an address, whichever form is entered."""

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        try:
            words = [search_word(word) for word in search_term.split()]
        except InvalidAddressError as error:
            messages.warning(request, error.message)
            return queryset.none(), False
        results: tuple[Any, bool] = super().get_search_results(request, queryset, " ".join(words))  # type: ignore[misc]
        return results
