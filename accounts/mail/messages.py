"""Emails in text and HTML, from `templates/mails/`."""

import logging
import re
import unicodedata
from email.charset import QP, Charset
from email.utils import make_msgid
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone, translation

from accounts.models import Creator
from audit.requests.metrics import MAILS

from . import refusals
from .smtp import SETTINGS, NotDeliveredError

logger = logging.getLogger(__name__)
HEADERS = {
    "Auto-Submitted": "auto-generated",  # RFC 3834: suppresses automatic replies
    # the same for Exchange; "All" would also suppress non-delivery reports
    "X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply",
    # no List-Unsubscribe (RFC 8058): all emails are about the account itself and can't be turned off
}
# Some servers don't support 8BITMIME (RFC 6152), so non-ASCII text is sent as quoted-printable.
QUOTED_PRINTABLE = Charset("utf-8")
QUOTED_PRINTABLE.body_encoding = QP
# Typographic quotes and dashes are replaced if the whole text is ASCII then: it needs no quoted-printable.
TYPOGRAPHY = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")
# what mail programs turn into a link, after NFKC: a scheme, a domain, an IPv4 address
_LINK = re.compile(r"://|www[.。]|[\w-][.。][^\W\d_]{2,}|\d\.\d+\.\d+\.\d", re.IGNORECASE)


def send(kind: str, *, to: str, language: str, creator_id: UUID | None = None, **context: Any) -> None:
    """Render `templates/mails/<kind>.*` in `language` and send it. The worker calls this as the operator.

    A final refusal is recorded under `creator_id`, else under the account that holds the address. It raises
    nothing, because a retry of the job would not help.

    Raises:
        NotDeliveredError: the server did not accept the email, but may accept it later.
        Exception: any error of another email backend.

    """
    lookup = {"pk": creator_id} if creator_id else {"email": to, "holds_email": True}
    account = Creator.objects.filter(**lookup).first()
    is_verified = account is not None and (account.is_staff or account.email_verified_at is not None)
    context = _remove_untrusted_text(context, to_verified=is_verified)
    mail = compose(kind, to=to, language=language, **context)
    try:
        mail.send()
    except NotDeliveredError as error:
        _handle_refusal(error, kind, to, creator_id or (account.pk if account else None))
    except Exception:
        MAILS.labels(kind, "failed").inc()
        raise
    else:
        MAILS.labels(kind, "sent").inc()


def _handle_refusal(error: NotDeliveredError, kind: str, to: str, creator_id: UUID | None) -> None:
    """Record a final refusal; log any other and raise it again."""
    # this email has the only link to undo the change, so it is retried unless the mailbox does not exist
    is_final = error.is_undeliverable if kind == "email_change_notice" else error.is_final
    MAILS.labels(kind, "refused" if is_final else "failed").inc()
    if is_final:
        refusals.record_refusal(error, kind=kind, email=to, creator_id=creator_id)
        return
    # neither the address nor the server's reply, which may contain it
    facts = {"stage": error.stage.value, "code": error.code, "setting": SETTINGS[error.stage]}
    logger.warning("mail not delivered", extra=facts)
    raise error


def compose(kind: str, *, to: str, language: str, **context: Any) -> EmailMultiAlternatives:
    """The complete email: 7-bit, with a Message-ID at the sender's domain."""
    context |= {
        "service_name": settings.SERVICE_NAME,
        "public_url": settings.PUBLIC_URL,
        "takes_replies": bool(settings.EMAIL_REPLY_TO),
        "at": timezone.now(),
    }
    with translation.override(language):
        subject = render_to_string(f"mails/{kind}.subject.txt", context).strip()
        text = _ascii_typography(render_to_string(f"mails/{kind}.txt", context))
        html = render_to_string(f"mails/{kind}.html", context)
    message_id = make_msgid(domain=settings.EMAIL_SENDER.rpartition("@")[2])
    mail = EmailMultiAlternatives(subject, text, to=[to], headers={**HEADERS, "Message-ID": message_id})
    mail.reply_to = [settings.EMAIL_REPLY_TO] if settings.EMAIL_REPLY_TO else []
    mail.encoding = None if text.isascii() else QUOTED_PRINTABLE
    mail.attach_alternative(html.encode("ascii", "xmlcharrefreplace").decode(), "text/html")
    return mail


def _ascii_typography(text: str) -> str:
    ascii_text = text.translate(TYPOGRAPHY)
    return ascii_text if ascii_text.isascii() else text


def _remove_untrusted_text(context: dict[str, Any], *, to_verified: bool) -> dict[str, Any]:
    """Remove names and devices that could become links.

    From an email to an unverified address all of them are removed, and the new address too: its owner
    may be a victim of the person who signed up.
    """
    safe = {**context}
    if not to_verified:
        safe.pop("new_email", None)
    for name in {"display_name", "device"} & safe.keys():
        safe[name] = _text_without_link(safe[name]) if to_verified else ""
    if "notices" in safe:
        safe["notices"] = [
            _remove_untrusted_text(notice, to_verified=to_verified) for notice in safe["notices"]
        ]
    return safe


def _text_without_link(text: str) -> str:
    """The text, or "" if it has invisible characters or a mail program could find a link in it."""
    return text if text.isprintable() and not _LINK.search(unicodedata.normalize("NFKC", text)) else ""
