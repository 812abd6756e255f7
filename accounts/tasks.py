"""The worker's jobs, which run as the operator.

Arguments are plain values without secrets, because the queue stores them. Link tokens are therefore issued by
the job that sends them.
"""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django_tasks import task

from audit import recorder
from audit.events import Event
from audit.models import PersonalData
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from .mail import account_mails, security_notices
from .models import Creator, EmailChange, SecurityNotice
from .ratelimits import limits

MAX_MAILS_PER_RESEND = 3
MAX_SIGN_UPS_PER_RESEND = 100  # of which the MAX_MAILS_PER_RESEND are chosen


@task()
def send_registration_mail(creator_id: str, email: str, language: str) -> None:
    """Send the link for a new sign-up. If the address is taken, notify its owner and delete the sign-up."""
    sign_up = Creator.objects.filter(pk=UUID(creator_id))
    holder = _holder(email, excluding=UUID(creator_id))
    if holder is None:
        if creator := sign_up.filter(email_verified_at=None).first():
            account_mails.send_verification_link(creator, language)
        return
    account_mails.send_address_taken(email, holder, language)
    # after the email, because a job that fails is retried and would record the event each time
    with tenant_scope(holder.pk):
        sign_up.filter(holds_email=False)._raw_delete(current_alias())  # the database cascades
        recorder.record(Event.REGISTRATION_REPEATED, client=ClientInfo(), creator_id=holder.pk)
    _erase_if_deleted(UUID(creator_id))  # without email verification there is no row whose deletion does it


@task()
def resend_verification_mails(email: str, ip_address: str | None, language: str) -> None:
    """Queue a new link for each pending sign-up, within the limits: it is unknown which is the owner's.

    Each has its own job, so that a failure of one email neither repeats nor suppresses the others.
    """
    if _is_verified(email):
        return
    client = ClientInfo(ip_address=ip_address)
    sign_ups = _pending_sign_ups(email, client)[:MAX_MAILS_PER_RESEND]
    with transaction.atomic(using=current_alias()):
        for index, creator_id in enumerate(sign_ups):
            # the request has counted the first email
            if index == 0 or limits.allows_mail("verify", email, client):
                send_verification_mail.enqueue(str(creator_id), language)


def _pending_sign_ups(email: str, client: ClientInfo) -> list[UUID]:
    """The sign-ups at this address in the order in which a resend serves them.

    Sign-ups from the client's network come first. In both groups the newest and the oldest come first: other
    people's sign-ups, before or after the owner's, can't displace it.
    """
    pending = Creator.objects.filter(email=email, is_active=True, is_staff=False, email_verified_at=None)
    ids = list(pending.order_by("-created_at").values_list("pk", flat=True)[:MAX_SIGN_UPS_PER_RESEND])
    networks, network = _networks_of_sign_ups(ids), limits.network_of(client)
    same = [pk for pk in ids if networks.get(pk) == network]
    other = [pk for pk in ids if networks.get(pk) != network]
    return _newest_and_oldest_first(same) + _newest_and_oldest_first(other)


def _networks_of_sign_ups(ids: list[UUID]) -> dict[UUID, str]:
    """The client network of each account's first event, which is its sign-up."""
    events = PersonalData.objects.filter(creator_id__in=ids).order_by("-id")
    addresses = dict(events.values_list("creator_id", "ip_address"))  # the first event is read last
    return {pk: limits.network_of(ClientInfo(ip_address=address)) for pk, address in addresses.items()}


def _newest_and_oldest_first(newest_first: list[UUID]) -> list[UUID]:
    newest, others = newest_first[:1], newest_first[1:]
    return newest + others[-1:] + others[:-1]


@task()
def send_verification_mail(creator_id: str, language: str) -> None:
    """Send a new link for a sign-up that is still pending."""
    pending = Creator.objects.filter(pk=UUID(creator_id), is_active=True, email_verified_at=None)
    creator = pending.first()
    if creator is not None and not _is_verified(creator.email):
        account_mails.send_verification_link(creator, language)


def _is_verified(email: str) -> bool:
    return Creator.objects.filter(email=email, email_verified_at__isnull=False).exists()


@task()
def send_reset_mail(email: str, language: str, *, by_support: bool = False) -> None:
    """Send a reset link to the account that holds the address; for a reserved address, the undo link again.

    `by_support`: an operator requested it, not someone who may be the owner.
    """
    creator = _account_at(email)
    if creator is not None:
        account_mails.send_reset_link(creator, language, by_support=by_support)
        return
    change = EmailChange.objects.reserving(email).order_by("number").first()
    if change is not None:  # the owner may have missed the first notice
        send_email_change_notice.enqueue(str(change.pk), language)


@task()
def add_lockout_notice(email: str, facts: dict[str, Any], language: str) -> None:
    """Notify the owner that sign-in at the address is locked, if the address has an account."""
    creator = _account_at(email)
    if creator is None:
        return
    with tenant_scope(creator.pk):
        kind = SecurityNotice.Kind.ACCOUNT_LOCKED
        notice = SecurityNotice.objects.create(creator=creator, kind=kind, email=email, **facts)
        send_security_notice.enqueue(str(notice.pk), language)


def _account_at(email: str) -> Creator | None:
    return Creator.objects.filter(email=email, holds_email=True, is_active=True, is_staff=False).first()


@task()
def send_email_change_link(change_id: str, language: str) -> None:
    """Send the link to the new address. If the address is taken, notify its owner instead."""
    change = _pending_change(change_id)
    if change is None:
        return
    holder = _holder(change.new_email, excluding=change.creator_id)
    if holder is not None:
        account_mails.send_address_taken(change.new_email, holder, language)
    else:
        account_mails.send_change_link(change, language)


@task()
def send_email_change_notice(change_id: str, language: str) -> None:
    """Send the notice with the undo link to the old address, even if the change is already confirmed."""
    change = EmailChange.objects.filter(pk=UUID(change_id), undone_at=None).first()
    if change is not None:
        account_mails.send_change_notice(change, language)


def _holder(email: str, *, excluding: UUID) -> Creator | None:
    """The other account that has the address, or for which it is reserved while a change can be undone."""
    reserving = EmailChange.objects.reserving(email).values("creator")
    others = Creator.objects.exclude(pk=excluding)
    return others.filter(Q(email=email, holds_email=True) | Q(pk__in=reserving)).first()


def _pending_change(change_id: str) -> EmailChange | None:
    """The change, unless it was confirmed or ended before its email was written."""
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
    """Send all unsent notices to the notice's address in one email, at most one email per MIN_INTERVAL."""
    notice = SecurityNotice.objects.filter(pk=UUID(notice_id), sent_at=None).select_related("creator").first()
    if notice is None:  # sent with another notice
        return
    due_at = security_notices.due_at(notice)
    if due_at > timezone.now():
        send_security_notice.using(run_after=due_at).enqueue(notice_id, language)
        return
    security_notices.send_bundle(notice, language)


@task()
def erase_personal_data(creator_id: str) -> None:
    """Erase what requests that were in flight during an account's deletion recorded under its id."""
    _erase_if_deleted(UUID(creator_id))


def _erase_if_deleted(creator_id: UUID) -> None:
    """An existing account is skipped: anyone who can queue jobs can name any account."""
    if not Creator.objects.filter(pk=creator_id).exists():
        recorder.erase_personal_data(creator_id)
