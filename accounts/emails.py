"""Mails, in text and HTML, from `templates/mails/`."""

from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone, translation

from audit.metrics import MAILS


def send(kind: str, *, to: str, language: str, **context: Any) -> None:
    """Render `templates/mails/<kind>.*` in `language` and send it; raises what the mail backend raises."""
    context |= {
        "service_name": settings.SERVICE_NAME,
        "public_url": settings.PUBLIC_URL,
        "at": timezone.now(),
    }
    with translation.override(language):
        subject = render_to_string(f"mails/{kind}.subject.txt", context).strip()
        text = render_to_string(f"mails/{kind}.txt", context)
        html = render_to_string(f"mails/{kind}.html", context)
    # RFC 3834: no vacation notices in answer
    mail = EmailMultiAlternatives(subject, text, to=[to], headers={"Auto-Submitted": "auto-generated"})
    mail.attach_alternative(html, "text/html")
    try:
        mail.send()
    except Exception:
        MAILS.labels(kind, "failed").inc()
        raise
    MAILS.labels(kind, "sent").inc()
