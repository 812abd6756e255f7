"""The emails that carry security notices: one email for all unsent notices to the same address."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone

from accounts.models import Creator, SecurityNotice

from . import messages

BY_SUPPORT = {
    SecurityNotice.Kind.SUPPORT_ENDED_SESSIONS,
    SecurityNotice.Kind.SUPPORT_DEACTIVATED,
    SecurityNotice.Kind.SUPPORT_REACTIVATED,
    SecurityNotice.Kind.SUPPORT_VERIFIED,
}
FACTS = ("kind", "at", "until", "ip_address", "device")
MIN_INTERVAL = timedelta(minutes=15)  # between two emails with notices to one address


def due_at(notice: SecurityNotice) -> datetime:
    """When the next email with notices may be sent to the notice's address."""
    sent = SecurityNotice.objects.filter(creator_id=notice.creator_id, email=notice.email)
    last = sent.aggregate(at=Max("sent_at"))["at"]
    return last + MIN_INTERVAL if last else timezone.now()


def send_bundle(notice: SecurityNotice, language: str) -> None:
    """Send all unsent notices to the same address in one email, then mark them as sent.

    In this order a crash can repeat the email, but can't lose it.
    """
    creator: Creator = notice.creator
    unsent = SecurityNotice.objects.filter(creator=creator, email=notice.email, sent_at=None)
    notices = list(unsent.order_by("at"))
    messages.send(
        "security_notice",
        to=notice.email,
        language=language,
        creator_id=creator.pk,
        display_name=creator.display_name,
        notices=_grouped(notices),
        is_staff=creator.is_staff,
        action_url=_action_url(creator, notices),
    )
    SecurityNotice.objects.filter(pk__in=[notice.pk for notice in notices]).update(sent_at=timezone.now())


def _action_url(creator: Creator, notices: list[SecurityNotice]) -> str:
    """Where the recipient can react; "" if all notices report actions of support."""
    if BY_SUPPORT.issuperset(notice.kind for notice in notices):
        return ""
    return settings.PUBLIC_URL + reverse("admin:index" if creator.is_staff else "password-reset")


def _grouped(notices: list[SecurityNotice]) -> list[dict[str, Any]]:
    """One entry for each kind, client address and device, with the count and the latest notice's facts."""

    def group(notice: SecurityNotice) -> tuple[str, str | None, str]:
        return notice.kind, notice.ip_address, notice.device

    counts = Counter(group(notice) for notice in notices)
    latest = {group(notice): notice for notice in notices}
    return [
        {name: getattr(notice, name) for name in FACTS} | {"count": counts[key]}
        for key, notice in latest.items()
    ]
