"""Records of permanently refused emails, and the marks of undeliverable addresses.

A marked address still receives emails: the mark may be wrong, and its owner may need a reset link. The mark
ends when the address is verified again or changed, because both set `email_verified_at`.
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

MAX_REPLY_LENGTH = 200
_ADDRESS = re.compile(r"\S*@\S*")
_DELIVERABLE = Q(email_undeliverable_at=None) | Q(email_undeliverable_at__lte=F("email_verified_at"))


def record_refusal(error: NotDeliveredError, *, kind: str, email: str, creator_id: UUID | None) -> None:
    """Store a final refusal for operators and in the audit log, under its creator if there is one."""
    reply, now = redact(error.reply, email), timezone.now()
    facts = {"kind": kind, "stage": error.stage.value, "code": error.code, "reply": reply}
    with tenant_scope(creator_id or NO_TENANT):
        RefusedMail.objects.create(account_id=creator_id, email=email, at=now, **facts)
        # without a creator the address is left out: no deletion of an account would erase it
        logged_email = email if creator_id else ""
        record(Event.MAIL_REFUSED, client=ClientInfo(), creator_id=creator_id, email=logged_email, **facts)
    if error.is_undeliverable:
        mark_undeliverable(email, reason=f"{error.code} {reply}", now=now)


def mark_undeliverable(email: str, *, reason: str = "", now: datetime | None = None) -> int:
    """Mark the account that holds a canonical address; returns how many accounts were newly marked.

    The owner can read `reason` in the audit log, where it stays, so it is redacted.
    """
    reason = redact(reason, email)
    detail = {"reason": reason} if reason else {}
    deliverable = Creator.objects.filter(_DELIVERABLE, email=email, holds_email=True)
    marked = 0
    for creator_id in list(deliverable.values_list("pk", flat=True)):
        with tenant_scope(creator_id):
            if deliverable.filter(pk=creator_id).update(email_undeliverable_at=now or timezone.now()):
                record(Event.EMAIL_UNDELIVERABLE, client=ClientInfo(), creator_id=creator_id, **detail)
                marked += 1
    return marked


def has_account(email: str) -> bool:
    return Creator.objects.filter(email=email, holds_email=True).exists()


def redact(text: str, email: str) -> str:
    """One printable line of limited length, without any address and without the local part of `email`."""
    line = "".join(character if character.isprintable() else " " for character in text)
    line = _ADDRESS.sub("…", line)
    local = re.escape(email.rpartition("@")[0])
    return re.sub(rf"(?<!\w){local}(?!\w)", "…", line, flags=re.IGNORECASE)[:MAX_REPLY_LENGTH].strip()
