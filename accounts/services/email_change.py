"""Change of the email address: confirmed at the new address, announced at the old one, undone from there.

Rules for the recovery of a stolen account (docs/one-time-links.md):

- At most one change is pending. A newer request supersedes it.
- No action in the account ends an undo link, because its current user may be an attacker.
- Undoing a change undoes all later ones. Moving back to an address that an undo could restore is that undo.
- After an undo the password must be reset, because the person who requested the change knows it.
"""

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, Min
from django.utils import timezone

from accounts import link_tokens, tasks
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidLinkError
from accounts.mail import links
from accounts.mail.language import current_language
from accounts.models import Creator, EmailChange, EmailChangeToken, SecurityNotice, Session
from accounts.ratelimits import limits
from accounts.sql import Caller
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import notices, password_hashing, sessions
from .password_change import confirm_password

Kind = SecurityNotice.Kind
Purpose = EmailChangeToken.Purpose


# --- request ------------------------------------------------------------------------------------
def request_change(caller: Caller, *, new_email: str, password: str, client: ClientInfo) -> None:
    """Queue the link to the new address and the notice to the old one.

    Raises:
        WrongPasswordError, AccountLockedError: about the password.
        RateLimitedError: too many passwords are being verified, or its hash changed each time.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.

    """
    new_email = canonical_email(new_email)

    def verify_and_request() -> bool | None:
        verified = confirm_password(caller.id, email=caller.email, password=password, client=client)
        may_mail = _may_mail(caller.email, new_email, client)
        with tenant_scope(caller.id):
            if not sessions.lock_if_unchanged(caller, verified_hash=verified):
                return None
            change = _supersede_pending(Creator.objects.get(pk=caller.id), new_email)
            record(Event.EMAIL_CHANGE_REQUESTED, client=client, creator_id=caller.id, email=new_email)
            if may_mail:
                tasks.send_email_change_link.enqueue(str(change.pk), current_language())
                tasks.send_email_change_notice.enqueue(str(change.pk), current_language())
        return True

    password_hashing.retry_if_changed(verify_and_request)


def _may_mail(old_email: str, new_email: str, client: ClientInfo) -> bool:
    """Whether both emails may be sent; else none is, because a change must not be confirmed unannounced."""
    return limits.allows_mail("email_change", new_email, client) and limits.allows_mail(
        "email_change_notice", old_email, client
    )


def _supersede_pending(creator: Creator, new_email: str) -> EmailChange:
    """Create a pending change in place of any other. The creator's row must be locked."""
    changes, now = EmailChange.objects.filter(creator_id=creator.pk), timezone.now()
    changes.filter(confirmed_at=None, superseded_at=None).update(superseded_at=now)
    return EmailChange.objects.create(
        creator_id=creator.pk,
        number=(changes.aggregate(last=Max("number"))["last"] or 0) + 1,
        old_email=creator.email,
        new_email=new_email,
        recovery_generation=creator.recovery_generation,
        created_at=now,
        expires_at=now + settings.EMAIL_CHANGE_LIFETIME,
        undo_expires_at=now + settings.EMAIL_CHANGE_UNDO_LIFETIME,
    )


# --- confirm ------------------------------------------------------------------------------------
def pending_change(uid: str, token: str) -> EmailChange | None:
    """The change that a link would confirm, None if the link is invalid. Uses nothing up."""
    try:
        return _pending(link_tokens.parse(uid, token))
    except InvalidLinkError:
        return None


def verify_password(change: EmailChange, *, password: str, client: ClientInfo) -> None:
    """Verify the password of the account whose address is to change.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: about the password.

    """
    confirm_password(change.creator_id, email=change.old_email, password=password, client=client)


def confirm_change(*, uid: str, token: str, client: ClientInfo) -> None:
    """Move the account to the new address and end all earlier links but those that undo a change.

    Raises InvalidLinkError: the link is invalid, or another account has the address.
    """
    link = link_tokens.parse(uid, token)
    with tenant_scope(link.creator_id):
        Creator.objects.lock_row(link.creator_id)
        change = _pending(link)
        if change is None or not _move_account(link.creator_id, change.new_email):
            raise InvalidLinkError
        EmailChange.objects.filter(pk=change.pk).update(confirmed_at=timezone.now())
        _undo_if_moved_back(change)
        record(Event.EMAIL_CHANGED, client=client, creator_id=link.creator_id)
        both = [change.old_email, change.new_email]
        notices.add(Kind.EMAIL_CHANGED, creator_id=link.creator_id, client=client, to=both)


def _pending(link: link_tokens.Link) -> EmailChange | None:
    with tenant_scope(link.creator_id):
        tokens = EmailChangeToken.objects.valid(link).filter(purpose=Purpose.CONFIRM)
        return EmailChange.objects.filter(
            creator_id=link.creator_id, pk__in=tokens.values("change"), confirmed_at=None, superseded_at=None
        ).first()


def _undo_if_moved_back(change: EmailChange) -> None:
    """Mark the earlier change, and all later ones, as undone if this change restores its old address.

    Otherwise the undo link of this change, mailed to the address in between, would stay valid.
    """
    undoable = EmailChange.objects.filter(
        creator_id=change.creator_id,
        old_email=change.new_email,
        undone_at=None,
        undo_expires_at__gt=timezone.now(),
    )
    first = undoable.aggregate(first=Min("number"))["first"]
    if first is not None:
        _mark_undone_from(change.creator_id, first)


# --- undo ---------------------------------------------------------------------------------------
def can_undo(uid: str, token: str) -> bool:
    try:
        return _undoable(link_tokens.parse(uid, token)) is not None
    except InvalidLinkError:
        return False


def undo_change(*, uid: str, token: str, client: ClientInfo) -> link_tokens.Link:
    """Restore the address from before the change, undo later changes, and end all sessions and other links.

    Returns a link that resets the password. It is not mailed: an attacker could use up the limit and so delay
    the email, and the user of an undo link has already shown access to the mailbox.

    Raises InvalidLinkError: the link is invalid, or another account has the address.
    """
    link = link_tokens.parse(uid, token)
    with tenant_scope(link.creator_id):
        creator = Creator.objects.lock_row(link.creator_id)
        change = _undoable(link)
        if creator is None or change is None or not _move_account(creator.pk, change.old_email):
            raise InvalidLinkError
        _mark_undone_from(creator.pk, change.number)
        Creator.objects.filter(pk=creator.pk).update(must_reset_password=True)
        reset_link = links.issue_reset_link(Creator.objects.get(pk=creator.pk))
        sessions.end_sessions(creator_id=creator.pk, reason=Session.End.EMAIL)
        record(Event.EMAIL_CHANGE_UNDONE, client=client, creator_id=creator.pk)
        both = {change.old_email, creator.email}
        notices.add(Kind.EMAIL_CHANGE_UNDONE, creator_id=creator.pk, client=client, to=sorted(both))
    return reset_link


def _undoable(link: link_tokens.Link) -> EmailChange | None:
    """Not `valid`: an undo link depends on neither the address nor the recovery generation of the account."""
    with tenant_scope(link.creator_id):
        tokens = EmailChangeToken.objects.matching(link).filter(purpose=Purpose.UNDO)
        return EmailChange.objects.filter(
            creator_id=link.creator_id, pk__in=tokens.values("change"), undone_at=None
        ).first()


def _mark_undone_from(creator_id: UUID, number: int) -> None:
    changes = EmailChange.objects.filter(creator_id=creator_id, number__gte=number, undone_at=None)
    changes.update(undone_at=timezone.now())


def _move_account(creator_id: UUID, email: str) -> bool:
    """Set the address and end earlier links; False if another account has the address or has it reserved."""
    try:
        with transaction.atomic(using=current_alias()):
            Creator.objects.filter(pk=creator_id).update(email=email, email_verified_at=timezone.now())
    except IntegrityError:  # raised by the unique index, or by the trigger that protects reserved addresses
        return False
    Creator.objects.filter(pk=creator_id).update(must_reset_password=False)
    Creator.objects.end_links(creator_id)
    return True
