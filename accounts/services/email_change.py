"""Another e-mail address: confirmed at the new one, announced at the old one, undone from there."""

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import get_language

from accounts import limits, links, tasks
from accounts.addresses import canonical_email
from accounts.exceptions import InvalidLinkError
from accounts.models import Creator, EmailChange, SecurityNotice, Session
from accounts.services import notices, sessions
from accounts.services.password_change import confirm_password
from accounts.services.sessions import Caller
from audit.book import record
from audit.clients import Client
from audit.events import Event
from tenancy.context import current_alias, tenant_scope


def request_change(caller: Caller, *, new_email: str, password: str, client: Client) -> None:
    """Queue the link to the new address and the notice to the old one.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: the password did not open.

    """
    new_email = canonical_email(new_email)
    confirm_password(caller, password=password, client=client)
    mail = limits.allows_mail("email_change", new_email, client)
    now = timezone.now()
    with tenant_scope(caller.id):
        change = EmailChange.objects.create(
            creator_id=caller.id,
            old_email=caller.email,
            new_email=new_email,
            created_at=now,
            expires_at=now + settings.EMAIL_CHANGE_LIFETIME,
            undo_expires_at=now + settings.EMAIL_CHANGE_UNDO_LIFETIME,
        )
        record(Event.EMAIL_CHANGE_REQUESTED, client=client, creator_id=caller.id, email=new_email)
        if mail:
            tasks.send_email_change_mails.enqueue(str(change.pk), get_language() or settings.LANGUAGE_CODE)


def pending_address(uid: str, token: str) -> str | None:
    """The new address of a link that can be confirmed; spends nothing."""
    try:
        link = links.read(uid, token)
    except InvalidLinkError:
        return None
    with tenant_scope(link.creator_id):
        change = _confirmable(link).first()
    return change.new_email if change else None


def confirm_change(*, uid: str, token: str, client: Client) -> None:
    """Raises InvalidLinkError: unknown, spent, expired, undone, or somebody else has the address."""
    link = links.read(uid, token)
    with tenant_scope(link.creator_id):
        Creator.objects.locked(link.creator_id)
        change = _confirmable(link).select_for_update().first()
        changed = change is not None and _move(change, change.new_email)
        if change is not None and changed:
            EmailChange.objects.filter(pk=change.pk).update(confirmed_at=timezone.now())
            record(Event.EMAIL_CHANGED, client=client, creator_id=link.creator_id)
            notices.add(SecurityNotice.Kind.EMAIL_CHANGED, creator_id=link.creator_id, client=client)
    if not changed:
        raise InvalidLinkError


def can_undo(uid: str, token: str) -> bool:
    try:
        link = links.read(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _undoable(link).exists()


def undo_change(*, uid: str, token: str, client: Client) -> None:
    """The old address is back, or the new one never comes; every session ends.

    Raises InvalidLinkError: unknown, spent, expired, or somebody else has the old address by now.
    """
    link = links.read(uid, token)
    with tenant_scope(link.creator_id):
        Creator.objects.locked(link.creator_id)
        change = _undoable(link).select_for_update().first()
        undone = change is not None and (change.confirmed_at is None or _move(change, change.old_email))
        if change is not None and undone:
            EmailChange.objects.filter(pk=change.pk).update(undone_at=timezone.now())
            sessions.end_sessions(creator_id=link.creator_id, reason=Session.End.EMAIL)
            record(Event.EMAIL_CHANGE_UNDONE, client=client, creator_id=link.creator_id)
    if not undone:
        raise InvalidLinkError


def _confirmable(link: links.Link) -> QuerySet[EmailChange]:
    return EmailChange.objects.filter(
        creator_id=link.creator_id,
        confirm_digest=link.digest,
        confirmed_at=None,
        undone_at=None,
        expires_at__gt=timezone.now(),
    )


def _undoable(link: links.Link) -> QuerySet[EmailChange]:
    return EmailChange.objects.filter(
        creator_id=link.creator_id,
        undo_digest=link.digest,
        undone_at=None,
        undo_expires_at__gt=timezone.now(),
    )


def _move(change: EmailChange, email: str) -> bool:
    """One unique index decides who has an address."""
    creator_id: UUID = change.creator_id
    try:
        with transaction.atomic(using=current_alias()):
            moved = Creator.objects.filter(pk=creator_id, is_active=True).update(
                email=email, email_verified_at=timezone.now()
            )
    except IntegrityError:
        return False
    return bool(moved)
