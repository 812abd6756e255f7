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

DEFAULT_SPAN = timedelta(days=7)
UUID_VERSION = 7
MAX_REQUEST_TIME = timedelta(minutes=10)


class UTCDateTimeField(forms.DateTimeField):
    """To the second, with the browser's input for date and time."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")


class NetworkField(forms.CharField):
    """An address or a network such as 203.0.113.0/24; None if empty."""

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
    """A search of the audit log. It always has a start, so that PostgreSQL prunes older partitions."""

    after = UTCDateTimeField(label=_("From (UTC)"), required=False)
    before = UTCDateTimeField(label=_("To (UTC)"), required=False)
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
        data["after"] = data["after"] or (before or timezone.now()) - DEFAULT_SPAN
        if before and before <= data["after"]:
            raise ValidationError(_("The range ends before it begins."))
        return data

    def events(self, until: datetime | None = None) -> QuerySet[AuditLog]:
        """The matching events of all tenants, unordered. `until` is the end of a range without one."""
        data = self.cleaned_data
        before = data["before"] or until
        exact = {
            field: data[name]
            for name, field in {"type": "type", "creator": "creator_id", "request": "request_id"}.items()
            if data[name]
        }
        events = AuditLog.objects.using(OPERATOR).filter(**exact, **_between(data["after"], before))
        if data["address"]:
            first, last = str(data["address"][0]), str(data["address"][-1])
            personal = PersonalData.objects.using(OPERATOR).filter(
                ip_address__range=(first, last), **_between(data["after"], before)
            )
            events = events.filter(id__in=personal.values("id"))
        return events

    def event_detail(self) -> dict[str, str]:
        """The filter as an event's detail, which must not contain an address."""
        given = {name: str(value) for name, value in self.cleaned_data.items() if value}
        return given | ({"address": "given"} if "address" in given else {})


def _span_of(request_id: str) -> tuple[datetime, datetime] | None:
    """The time of the request, if its id is one of ours (UUIDv7)."""
    try:
        uuid = UUID(request_id)
        started = datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC)
        is_ours = uuid.version == UUID_VERSION
        return (started - MAX_REQUEST_TIME, started + MAX_REQUEST_TIME) if is_ours else None
    except (ValueError, OverflowError):  # not a UUID, or a time out of range
        return None


def _between(after: datetime, before: datetime | None) -> dict[str, Any]:
    """By id, which starts with the time: partitions and indexes are ordered by it."""
    return {"id__gte": lowest_id(after)} | ({"id__lt": lowest_id(before)} if before else {})
