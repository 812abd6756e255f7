"""Mails that were refused for good, and addresses that take none.

An address that is marked still gets its mails: a mark may be wrong, and a link to reset the password is
what its owner would need. The mark ends when the address is verified anew or changed: both set
`email_verified_at`.
"""

import re
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Creator, RefusedMail
from audit.events import Event
from audit.recorder import NO_TENANT, record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from .smtp import NotDeliveredError

LONGEST_WORDS = 200
_ADDRESS = re.compile(r"\S*@\S*")
_DELIVERABLE = Q(email_undeliverable_at=None) | Q(email_undeliverable_at__lte=F("email_verified_at"))


def record_refusal(error: NotDeliveredError, *, kind: str, email: str, creator_id: UUID | None) -> None:
    """Keep a final refusal for operators, and in the audit log under its creator, if it has one."""
    words, now = without_address(error.words, email), timezone.now()
    facts = {"kind": kind, "stage": error.stage.value, "code": error.code, "words": words}
    with tenant_scope(creator_id or NO_TENANT):
        RefusedMail.objects.create(account_id=creator_id, email=email, at=now, **facts)
        known = email if creator_id else ""  # what is nobody's is never erased
        record(Event.MAIL_REFUSED, client=ClientInfo(), creator_id=creator_id, email=known, **facts)
    if error.is_undeliverable:
        mark_undeliverable(email, reason=f"{error.code} {words}", now=now)


def mark_undeliverable(email: str, *, reason: str = "", now: datetime | None = None) -> int:
    """Mark the account that holds the address, which is canonical; how many were marked now.

    `reason` is told to the owner and kept for ever, so it is cut and loses the address.
    """
    told = {"reason": reason} if (reason := without_address(reason, email)) else {}
    deliverable = Creator.objects.filter(_DELIVERABLE, email=email, holds_email=True)
    marked = 0
    for creator_id in list(deliverable.values_list("pk", flat=True)):
        with tenant_scope(creator_id):
            if deliverable.filter(pk=creator_id).update(email_undeliverable_at=now or timezone.now()):
                record(Event.EMAIL_UNDELIVERABLE, client=ClientInfo(), creator_id=creator_id, **told)
                marked += 1
    return marked


def holds(email: str) -> bool:
    return Creator.objects.filter(email=email, holds_email=True).exists()


def without_address(words: str, email: str) -> str:
    """One printable line, cut, in which no address stands, nor the part of this one before the @."""
    words = _ADDRESS.sub("…", "".join(sign if sign.isprintable() else " " for sign in words))
    local = re.escape(email.rpartition("@")[0])
    return re.sub(rf"(?<!\w){local}(?!\w)", "…", words, flags=re.IGNORECASE)[:LONGEST_WORDS].strip()
