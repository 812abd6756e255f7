"""What the worker does, as the operator. Arguments are plain values and hold no secret: a token is
minted when its mail is written and goes nowhere else."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django_tasks import task

from accounts import emails
from accounts.models import Creator
from accounts.services import verification
from audit.book import record
from audit.clients import Client
from audit.events import Event
from tenancy.context import tenant_scope

MAILS_PER_RESEND = 3  # the newest sign-ups that wait at one address


@task()
def send_registration_mail(creator_id: str, email: str, language: str) -> None:
    """The link for a new sign-up; the owner of a taken address hears about it instead."""
    holder = Creator.objects.filter(email=email, holds_email=True).exclude(pk=UUID(creator_id)).first()
    if holder is None:
        creator = Creator.objects.filter(pk=UUID(creator_id), email_verified_at=None).first()
        if creator is not None:
            _send_link(creator, language)
        return
    reset_url = settings.PUBLIC_URL + reverse("password-reset")
    emails.send("address_used", to=email, language=language, reset_url=reset_url)
    # only now: a mail that fails is tried again, and its event would be written each time
    waiting = Creator.objects.filter(pk=UUID(creator_id), holds_email=False)
    with tenant_scope(holder.pk):
        waiting._raw_delete(waiting.db)  # the database cascades
        record(Event.REGISTRATION_REPEATED, client=Client(), creator_id=holder.pk)


@task()
def resend_verification_mails(email: str, language: str) -> None:
    """A new link for each sign-up that waits: nobody knows which of them is the mailbox owner's."""
    if Creator.objects.filter(email=email, email_verified_at__isnull=False).exists():
        return
    waiting = Creator.objects.filter(email=email, is_active=True, is_staff=False)
    for creator in waiting.order_by("-created_at")[:MAILS_PER_RESEND]:
        _send_link(creator, language)


def _send_link(creator: Creator, language: str) -> None:
    link = verification.issue_token(creator.pk)
    emails.send(
        "verify_email",
        to=creator.email,
        language=language,
        display_name=creator.display_name,
        link=link.url("verify-email"),
        expires_hours=settings.EMAIL_VERIFICATION_TOKEN_LIFETIME // timedelta(hours=1),
    )
