"""What the worker does, as the operator. Arguments are plain values and hold no secret: a token is
minted when its mail is written and goes nowhere else.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django_tasks import task

from accounts import emails, links
from accounts.models import Creator, EmailChange, PasswordResetToken, SecurityNotice
from accounts.services import notices, verification
from audit.book import erase_personal_data, record
from audit.clients import Client
from audit.events import Event
from tenancy.context import tenant_scope

RESET_LINKS_ALIVE = 3  # at most, for one account
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
    _forget(UUID(creator_id))  # without verification there was no row, whose deletion would have done it


@task()
def resend_verification_mails(email: str, language: str) -> None:
    """A new link for each sign-up that waits: nobody knows which of them is the mailbox owner's."""
    if Creator.objects.filter(email=email, email_verified_at__isnull=False).exists():
        return
    waiting = Creator.objects.filter(email=email, is_active=True, is_staff=False)
    for creator in waiting.order_by("-created_at")[:MAILS_PER_RESEND]:
        _send_link(creator, language)


@task()
def send_reset_mail(email: str, language: str, *, by_support: bool = False) -> None:
    """A link for the account that holds the address; nothing where it is only waiting to be confirmed.

    `by_support`: an operator asked for it, not somebody who may be the owner.
    """
    creator = Creator.objects.filter(email=email, holds_email=True, is_active=True, is_staff=False).first()
    if creator is None:
        return
    link = issue_reset_link(creator.pk)
    emails.send(
        "password_reset",
        to=email,
        language=language,
        display_name=creator.display_name,
        link=link.url("reset"),
        expires_minutes=settings.PASSWORD_RESET_TOKEN_LIFETIME // timedelta(minutes=1),
        by_support=by_support,
    )


def issue_reset_link(creator_id: UUID) -> links.Link:
    """A new link, of which only the digest stays; the oldest ones end for it."""
    link, now = links.new(creator_id), timezone.now()
    own = PasswordResetToken.objects.filter(creator_id=creator_id, used_at=None).order_by("-created_at")
    PasswordResetToken.objects.filter(pk__in=own.values("pk")[RESET_LINKS_ALIVE - 1 :]).update(used_at=now)
    PasswordResetToken.objects.create(
        creator_id=creator_id,
        digest=link.digest,
        created_at=now,
        expires_at=now + settings.PASSWORD_RESET_TOKEN_LIFETIME,
    )
    return link


@task()
def keep_lock_notice(email: str, facts: dict[str, Any], language: str) -> None:
    """The address was locked; its owner, if it has one, should know."""
    creator = Creator.objects.filter(email=email, holds_email=True, is_active=True, is_staff=False).first()
    if creator is None:
        return
    with tenant_scope(creator.pk):
        SecurityNotice.objects.create(creator=creator, kind=SecurityNotice.Kind.ACCOUNT_LOCKED, **facts)
        send_security_notices.enqueue(str(creator.pk), language)


@task()
def send_email_change_mails(change_id: str, language: str) -> None:
    """The link to the new address, and the notice with its undo to the old one.

    Where the new address has an account, its owner hears of the attempt instead of getting a link.
    """
    change = EmailChange.objects.filter(pk=UUID(change_id), confirmed_at=None).first()
    if change is None:
        return
    confirm, undo = links.new(change.creator_id), links.new(change.creator_id)
    EmailChange.objects.filter(pk=change.pk).update(confirm_digest=confirm.digest, undo_digest=undo.digest)
    if Creator.objects.filter(email=change.new_email, holds_email=True).exists():
        reset_url = settings.PUBLIC_URL + reverse("password-reset")
        emails.send("address_used", to=change.new_email, language=language, reset_url=reset_url)
    else:
        emails.send(
            "email_change",
            to=change.new_email,
            language=language,
            link=confirm.url("email-change"),
            expires_minutes=settings.EMAIL_CHANGE_LIFETIME // timedelta(minutes=1),
        )
    emails.send(
        "email_change_notice",
        to=change.old_email,
        language=language,
        new_email=change.new_email,
        link=undo.url("email-change-undo"),
    )


@task()
def send_security_notices(creator_id: str, language: str) -> None:
    """What the owner should know, at most one mail in a while."""
    creator = Creator.objects.filter(pk=UUID(creator_id)).first()
    if creator is None or not notices.is_waiting(creator.pk):
        return
    due_at = notices.due_at(creator.pk)
    if due_at > timezone.now():
        send_security_notices.using(run_after=due_at).enqueue(creator_id, language)
        return
    notices.send_bundle(creator, language)


@task()
def forget_personal_data(creator_id: str) -> None:
    """Of an account that is gone: a wrong password, looked at meanwhile, is recorded under its name.

    Anything that may enqueue a job may name any account, so one that is still there is left alone.
    """
    _forget(UUID(creator_id))


def _forget(creator_id: UUID) -> None:
    if not Creator.objects.filter(pk=creator_id).exists():
        erase_personal_data(creator_id)


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
