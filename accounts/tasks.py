"""What the worker does, as the operator. Arguments are plain values and hold no secret: a token is
issued when its mail is written and goes nowhere else.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django_tasks import task

from audit.events import Event
from audit.models import PersonalData
from audit.recorder import erase_personal_data, record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from .mail import messages, security_notices
from .mail.links import issue_change_link, issue_reset_link, issue_verification_link
from .models import Creator, EmailChange, EmailChangeToken, SecurityNotice
from .ratelimits import limits

MAILS_PER_RESEND = 3  # at most
MOST_WAITING = 100  # sign-ups at one address that a resend considers


@task()
def send_registration_mail(creator_id: str, email: str, language: str) -> None:
    """The link for a new sign-up; if the address is taken, its owner learns of the sign-up instead."""
    holder = _holder(email, apart_from=UUID(creator_id))
    if holder is None:
        creator = Creator.objects.filter(pk=UUID(creator_id), email_verified_at=None).first()
        if creator is not None:
            _send_link(creator, language)
        return
    _send_address_taken(email, holder, language)
    # only now: a mail that fails is tried again, and its event would be written each time
    waiting = Creator.objects.filter(pk=UUID(creator_id), holds_email=False)
    with tenant_scope(holder.pk):
        waiting._raw_delete(waiting.db)  # the database cascades
        record(Event.REGISTRATION_REPEATED, client=ClientInfo(), creator_id=holder.pk)
    _forget(UUID(creator_id))  # without verification there was no row, whose deletion would have done it


@task()
def resend_verification_mails(email: str, ip_address: str | None, language: str) -> None:
    """A new link for each sign-up that waits, as far as the limits allow: which is the owner's, is not known.

    Each has a job of its own: what becomes of one mail neither repeats nor suppresses another.
    """
    if _is_verified(email):
        return
    client = ClientInfo(ip_address=ip_address)
    with transaction.atomic(using=current_alias()):
        for number, creator_id in enumerate(_waiting_sign_ups(email, client)[:MAILS_PER_RESEND]):
            # the request has counted the first mail
            if number == 0 or limits.allows_mail("verify", email, client):
                send_verification_mail.enqueue(str(creator_id), language)


def _waiting_sign_ups(email: str, client: ClientInfo) -> list[UUID]:
    """The sign-ups at this address that a resend may serve, best first; for the worker.

    Those from the client's own network come first. Of each kind the newest and the oldest come first, so
    that strangers, who sign up before or after the owner, can't push the owner's sign-up out.
    """
    waiting = Creator.objects.filter(email=email, is_active=True, is_staff=False, email_verified_at=None)
    ids = list(waiting.order_by("-created_at").values_list("pk", flat=True)[:MOST_WAITING])
    rows = PersonalData.objects.filter(creator_id__in=ids).order_by("-id")
    origin = dict(rows.values_list("creator_id", "ip_address"))  # of the first event: the sign-up
    own = limits.network_of(client)
    near = [pk for pk in ids if pk in origin and limits.network_of(ClientInfo(ip_address=origin[pk])) == own]
    far = [pk for pk in ids if pk not in near]
    return [pk for kind in (near, far) for pk in (*kind[:1], *kind[1:][-1:], *kind[1:-1])]


@task()
def send_verification_mail(creator_id: str, language: str) -> None:
    """A new link for one sign-up, if it still waits."""
    waiting = Creator.objects.filter(pk=UUID(creator_id), is_active=True, email_verified_at=None)
    creator = waiting.first()
    if creator is not None and not _is_verified(creator.email):
        _send_link(creator, language)


def _is_verified(email: str) -> bool:
    return Creator.objects.filter(email=email, email_verified_at__isnull=False).exists()


@task()
def send_reset_mail(email: str, language: str, *, by_support: bool = False) -> None:
    """A link for the account that holds the address; nothing where it is only waiting to be confirmed.

    `by_support`: an operator asked for it, not somebody who may be the owner.
    """
    creator = Creator.objects.filter(email=email, holds_email=True, is_active=True, is_staff=False).first()
    if creator is None:
        _send_undo_link_again(email, language)
        return
    link = issue_reset_link(creator)
    messages.send(
        "password_reset",
        to=email,
        language=language,
        display_name=creator.display_name,
        link=link.url("reset"),
        expires_minutes=settings.PASSWORD_RESET_TOKEN_LIFETIME // timedelta(minutes=1),
        by_support=by_support,
    )


def _send_undo_link_again(email: str, language: str) -> None:
    """To the owner of a reserved address, who may never have seen the first mail."""
    change = EmailChange.objects.reserving(email).order_by("number").first()
    if change is not None:
        send_email_change_notice.enqueue(str(change.pk), language)


@task()
def keep_lock_notice(email: str, facts: dict[str, Any], language: str) -> None:
    """The address was locked; its owner, if it has one, should know."""
    creator = Creator.objects.filter(email=email, holds_email=True, is_active=True, is_staff=False).first()
    if creator is None:
        return
    with tenant_scope(creator.pk):
        kind = SecurityNotice.Kind.ACCOUNT_LOCKED
        notice = SecurityNotice.objects.create(creator=creator, kind=kind, email=email, **facts)
        send_security_notice.enqueue(str(notice.pk), language)


@task()
def send_email_change_link(change_id: str, language: str) -> None:
    """The link to the new address. If the address has an account, its owner learns of the attempt instead."""
    change = _pending_change(change_id)
    if change is None:
        return
    holder = _holder(change.new_email, apart_from=change.creator_id)
    if holder is not None:
        _send_address_taken(change.new_email, holder, language)
        return
    link = issue_change_link(change, EmailChangeToken.Purpose.CONFIRM, change.expires_at)
    messages.send(
        "email_change",
        to=change.new_email,
        language=language,
        creator_id=change.creator_id,
        link=link.url("email-change"),
        expires_minutes=settings.EMAIL_CHANGE_LIFETIME // timedelta(minutes=1),
    )


@task()
def send_email_change_notice(change_id: str, language: str) -> None:
    """The notice with its link to undo, to the old address, also if the change was confirmed meanwhile."""
    change = EmailChange.objects.filter(pk=UUID(change_id), undone_at=None).first()
    if change is None:
        return
    link = issue_change_link(change, EmailChangeToken.Purpose.UNDO, change.undo_expires_at)
    messages.send(
        "email_change_notice",
        to=change.old_email,
        language=language,
        creator_id=change.creator_id,
        new_email=change.new_email,
        link=link.url("email-change-undo"),
    )


def _holder(email: str, *, apart_from: UUID) -> Creator | None:
    """The other account that has the address, or for which it is reserved while a change can be undone."""
    reserving = EmailChange.objects.reserving(email).values("creator")
    others = Creator.objects.exclude(pk=apart_from)
    return others.filter(Q(email=email, holds_email=True) | Q(pk__in=reserving)).first()


def _send_address_taken(email: str, holder: Creator, language: str) -> None:
    reset_url = settings.PUBLIC_URL + reverse("password-reset")
    kind = "address_used" if holder.email == email else "address_reserved"
    messages.send(kind, to=email, language=language, creator_id=holder.pk, reset_url=reset_url)


def _pending_change(change_id: str) -> EmailChange | None:
    """None if the change was confirmed or ended before its mail was written."""
    return EmailChange.objects.filter(
        pk=UUID(change_id),
        confirmed_at=None,
        superseded_at=None,
        undone_at=None,
        expires_at__gt=timezone.now(),
        recovery_generation=F("creator__recovery_generation"),
    ).first()


@task()
def send_security_notice(notice_id: str, language: str) -> None:
    """The notice, with others to the same address, in at most one mail in a quarter of an hour."""
    notice = SecurityNotice.objects.filter(pk=UUID(notice_id), sent_at=None).select_related("creator").first()
    if notice is None:  # sent with another one
        return
    due_at = security_notices.due_at(notice)
    if due_at > timezone.now():
        send_security_notice.using(run_after=due_at).enqueue(notice_id, language)
        return
    security_notices.send_bundle(notice, language)


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
    link = issue_verification_link(creator)
    messages.send(
        "verify_email",
        to=creator.email,
        language=language,
        creator_id=creator.pk,
        link=link.url("verify-email"),
        expires_hours=settings.EMAIL_VERIFICATION_TOKEN_LIFETIME // timedelta(hours=1),
    )
