"""The mails that carry security notices: one mail for all that wait for the same address."""

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
APART = timedelta(minutes=15)  # between two such mails; what wait_until in between waits for the next


def due_at(notice: SecurityNotice) -> datetime:
    """When the next bundle to the notice's address may be sent."""
    sent = SecurityNotice.objects.filter(creator_id=notice.creator_id, email=notice.email)
    last = sent.aggregate(at=Max("sent_at"))["at"]
    return last + APART if last else timezone.now()


def send_bundle(notice: SecurityNotice, language: str) -> None:
    """One mail with all that waits for the same address. Marked after it is sent: rather twice than never."""
    creator: Creator = notice.creator
    unsent = SecurityNotice.objects.filter(creator=creator, email=notice.email, sent_at=None)
    waiting = list(unsent.order_by("at"))
    messages.send(
        "security_notice",
        to=notice.email,
        language=language,
        creator_id=creator.pk,
        display_name=creator.display_name,
        notices=_bundled(waiting),
        is_staff=creator.is_staff,
        action_url=_action_url(creator, waiting),
    )
    SecurityNotice.objects.filter(pk__in=[notice.pk for notice in waiting]).update(sent_at=timezone.now())


def _action_url(creator: Creator, waiting: list[SecurityNotice]) -> str:
    """Where to do something about it; "" where it was support's doing alone."""
    if BY_SUPPORT.issuperset(notice.kind for notice in waiting):
        return ""
    return settings.PUBLIC_URL + reverse("admin:index" if creator.is_staff else "password-reset")


def _bundled(waiting: list[SecurityNotice]) -> list[dict[str, Any]]:
    """The same thing from the same place is one line, with its count and its latest time."""

    def place(notice: SecurityNotice) -> tuple[str, str | None, str]:
        return notice.kind, notice.ip_address, notice.device

    counts = Counter(place(notice) for notice in waiting)
    latest = {place(notice): notice for notice in waiting}
    return [
        {
            "kind": notice.kind,
            "at": notice.at,
            "until": notice.until,
            "ip_address": notice.ip_address,
            "device": notice.device,
            "count": counts[key],
        }
        for key, notice in latest.items()
    ]
