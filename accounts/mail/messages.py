"""Mails, in text and HTML, from `templates/mails/`."""

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
    "Auto-Submitted": "auto-generated",  # RFC 3834: no vacation notices in answer
    # the same for Exchange; not "All", which would hold back the report that a mail was not delivered
    "X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply",
    # no List-Unsubscribe (RFC 8058): each mail is about the account itself, and none can be turned off
}
# Not every server on the way takes 8-bit bodies (RFC 6152): what is not ASCII is quoted-printable.
QUOTED_PRINTABLE = Charset("utf-8")
QUOTED_PRINTABLE.body_encoding = QP
# ... and quotes, dashes and dots are those of ASCII if then all is: such a text stays readable as it is sent.
TYPOGRAPHY = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")
# what mail programs make a link of, after NFKC: a scheme, a domain, an IPv4 address
_LINK = re.compile(r"://|www[.。]|[\w-][.。][^\W\d_]{2,}|\d\.\d+\.\d+\.\d", re.IGNORECASE)


def send(kind: str, *, to: str, language: str, creator_id: UUID | None = None, **context: Any) -> None:
    """Render `templates/mails/<kind>.*` in `language` and send it; called by the worker.

    A final refusal is recorded under `creator_id`, else under the account that holds the address, and
    is no error: nothing of a job is to be tried again for it.

    Raises:
        NotDeliveredError: the server did not take it, and may take it later; or what another mail
            backend raises.

    """
    known = {"pk": creator_id} if creator_id else {"email": to, "holds_email": True}
    holder = Creator.objects.filter(**known).first()
    is_verified = holder is not None and (holder.is_staff or holder.email_verified_at is not None)
    mail = compose(kind, to=to, language=language, **_without_strangers_words(context, is_verified))
    try:
        mail.send()
    except NotDeliveredError as error:
        # the one mail with a link to undo is given up only if there is no such mailbox
        is_final = error.is_undeliverable if kind == "email_change_notice" else error.is_final
        MAILS.labels(kind, "refused" if is_final else "failed").inc()
        if not is_final:
            _log(error)
            raise
        owner = creator_id or (holder.pk if holder else None)
        refusals.record_refusal(error, kind=kind, email=to, creator_id=owner)
    except Exception:
        MAILS.labels(kind, "failed").inc()
        raise
    else:
        MAILS.labels(kind, "sent").inc()


def compose(kind: str, *, to: str, language: str, **context: Any) -> EmailMultiAlternatives:
    """The mail as it goes out: 7-bit, with a Message-ID of the sender's domain."""
    context |= {
        "service_name": settings.SERVICE_NAME,
        "public_url": settings.PUBLIC_URL,
        "takes_replies": bool(settings.EMAIL_REPLY_TO),
        "at": timezone.now(),
    }
    with translation.override(language):
        subject = render_to_string(f"mails/{kind}.subject.txt", context).strip()
        text = _plain(render_to_string(f"mails/{kind}.txt", context))
        html = render_to_string(f"mails/{kind}.html", context)
    message_id = make_msgid(domain=settings.EMAIL_SENDER.rpartition("@")[2])
    mail = EmailMultiAlternatives(subject, text, to=[to], headers={**HEADERS, "Message-ID": message_id})
    mail.reply_to = [settings.EMAIL_REPLY_TO] if settings.EMAIL_REPLY_TO else []
    mail.encoding = None if text.isascii() else QUOTED_PRINTABLE
    mail.attach_alternative(html.encode("ascii", "xmlcharrefreplace").decode(), "text/html")
    return mail


def _plain(text: str) -> str:
    ascii_text = text.translate(TYPOGRAPHY)
    return ascii_text if ascii_text.isascii() else text


def _without_strangers_words(context: dict[str, Any], is_verified: bool) -> dict[str, Any]:  # noqa: FBT001
    """None to an address that is not verified: a stranger may have signed it up. No links to others."""
    fit = {**context}
    if not is_verified:
        fit.pop("new_email", None)
    for name in {"display_name", "device"} & fit.keys():
        fit[name] = _without_link(fit[name]) if is_verified else ""
    if "notices" in fit:
        fit["notices"] = [_without_strangers_words(notice, is_verified) for notice in fit["notices"]]
    return fit


def _without_link(words: str) -> str:
    """The words; "" if a mail program could make a link of them, or if some of them can't be seen."""
    return words if words.isprintable() and not _LINK.search(unicodedata.normalize("NFKC", words)) else ""


def _log(error: NotDeliveredError) -> None:
    """Where it failed and which setting to look at; neither address nor words."""
    told = {"stage": error.stage.value, "code": error.code, "setting": SETTINGS[error.stage]}
    logger.warning("mail not delivered", extra=told)
