import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from audit.events import Event
from audit.models import AuditLog, PersonalData
from audit.partitions import lowest_id
from tenancy.context import OPERATOR

USUAL_SPAN = timedelta(days=7)
UUID_VERSION = 7
LONGEST_REQUEST = timedelta(minutes=10)


class MomentField(forms.DateTimeField):
    """To the second and in UTC; browsers have an input for it."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")


class NetworkField(forms.CharField):
    """An address, or a network like 203.0.113.0/24; None where nothing is given."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ValidationError(_("Enter an address, or a network like 203.0.113.0/24.")) from error
        if getattr(network.network_address, "scope_id", None):
            raise ValidationError(_("Enter an address without a zone."))
        return network


class EventFilter(forms.Form):
    """What an operator looks for in the book. There is always a beginning, so old partitions stay closed."""

    after = MomentField(label=_("From (UTC)"), required=False)
    before = MomentField(label=_("To (UTC)"), required=False)
    type = forms.ChoiceField(
        label=_("Type"),
        choices=[("", _("any")), *((event.value, event.value) for event in sorted(Event))],
        required=False,
    )
    creator = forms.UUIDField(label=_("Creator"), required=False)
    address = NetworkField(label=_("Address"), max_length=64, required=False)
    request = forms.RegexField(r"^[A-Za-z0-9._-]{1,64}\Z", label=_("Request"), required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        if not (data["after"] or data["before"]) and (span := _span_of(data["request"])):
            data["after"], data["before"] = span
        before = data["before"]
        data["after"] = data["after"] or (before or timezone.now()) - USUAL_SPAN
        if before and before <= data["after"]:
            raise ValidationError(_("The range ends before it begins."))
        return data

    def events(self, until: datetime | None = None) -> QuerySet[AuditLog]:
        """Across all tenants and in no order, of the valid form; `until` ends a range that has no end."""
        asked = self.cleaned_data
        before = asked["before"] or until
        same = {
            field: asked[name]
            for name, field in {"type": "type", "creator": "creator_id", "request": "request_id"}.items()
            if asked[name]
        }
        events = AuditLog.objects.using(OPERATOR).filter(**same, **_between(asked["after"], before))
        if asked["address"]:
            first, last = str(asked["address"][0]), str(asked["address"][-1])
            personal = PersonalData.objects.using(OPERATOR).filter(
                ip_address__range=(first, last), **_between(asked["after"], before)
            )
            events = events.filter(id__in=personal.values("id"))
        return events

    def facts(self) -> dict[str, str]:
        """The filter for the book itself, which keeps no address."""
        asked = {name: str(value) for name, value in self.cleaned_data.items() if value}
        return asked | ({"address": "given"} if "address" in asked else {})


def _span_of(request_id: str) -> tuple[datetime, datetime] | None:
    """When a request was answered whose id is ours, a UUIDv7: it is found at once, however old it is."""
    try:
        found = UUID(request_id)
        began = datetime.fromtimestamp((found.int >> 80) / 1000, UTC)
        return (began - LONGEST_REQUEST, began + LONGEST_REQUEST) if found.version == UUID_VERSION else None
    except (ValueError, OverflowError):  # not an UUID, or none of this age of the world
        return None


def _between(after: datetime, before: datetime | None) -> dict[str, Any]:
    """By id, which begins with the time and is what the partitions and the indexes go by."""
    return {"id__gte": lowest_id(after)} | ({"id__lt": lowest_id(before)} if before else {})
