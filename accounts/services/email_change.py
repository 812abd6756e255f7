"""A change of the e-mail address: confirmed at the new one, announced at the old one, undone from there."""

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, Min
from django.utils import timezone
from django.utils.translation import get_language

from accounts import link_tokens, tasks
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidLinkError
from accounts.mail import links
from accounts.models import Creator, EmailChange, EmailChangeToken, SecurityNotice, Session
from accounts.ratelimits import limits
from accounts.sql import Caller
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import notices, sessions
from .password_change import confirm_password

Kind = SecurityNotice.Kind
Purpose = EmailChangeToken.Purpose


def request_change(caller: Caller, *, new_email: str, password: str, client: ClientInfo) -> None:
    """Queue the link to the new address and the notice to the old one. A newer request supersedes this one.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: about the password.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.

    """
    new_email = canonical_email(new_email)
    encoded = confirm_password(caller.id, email=caller.email, password=password, client=client)
    # a change that can be confirmed is always announced, so both mails count, or none is sent
    may_mail = limits.allows_mail("email_change", new_email, client) and limits.allows_mail(
        "email_change_notice", caller.email, client
    )
    with tenant_scope(caller.id):
        confirmed = sessions.is_confirmed(caller, password=encoded)
        if confirmed:
            change = _supersede(Creator.objects.get(pk=caller.id), new_email)
            record(Event.EMAIL_CHANGE_REQUESTED, client=client, creator_id=caller.id, email=new_email)
            if may_mail:
                language = get_language() or settings.LANGUAGE_CODE
                tasks.send_email_change_link.enqueue(str(change.pk), language)
                tasks.send_email_change_notice.enqueue(str(change.pk), language)
    if not confirmed:  # the hash is another one by now: is the password still right?
        request_change(caller, new_email=new_email, password=password, client=client)


def _supersede(creator: Creator, new_email: str) -> EmailChange:
    """A new pending change in place of the others; the account's row is locked."""
    own, now = EmailChange.objects.filter(creator_id=creator.pk), timezone.now()
    own.filter(confirmed_at=None, superseded_at=None).update(superseded_at=now)
    return EmailChange.objects.create(
        creator_id=creator.pk,
        number=(own.aggregate(last=Max("number"))["last"] or 0) + 1,
        old_email=creator.email,
        new_email=new_email,
        recovery_generation=creator.recovery_generation,
        created_at=now,
        expires_at=now + settings.EMAIL_CHANGE_LIFETIME,
        undo_expires_at=now + settings.EMAIL_CHANGE_UNDO_LIFETIME,
    )


def pending_change(uid: str, token: str) -> EmailChange | None:
    """The change that a link would confirm, None if it is dead; uses nothing up."""
    try:
        link = link_tokens.read(uid, token)
    except InvalidLinkError:
        return None
    with tenant_scope(link.creator_id):
        return _pending(link)


def verify_password(change: EmailChange, *, password: str, client: ClientInfo) -> None:
    """Ask for the password of the account whose address is to change.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: about the password.

    """
    confirm_password(change.creator_id, email=change.old_email, password=password, client=client)


def confirm_change(*, uid: str, token: str, client: ClientInfo) -> None:
    """Move the account to the new address; links and pending changes of before end.

    Raises InvalidLinkError: the link is dead, or another account has the address.
    """
    link = link_tokens.read(uid, token)
    with tenant_scope(link.creator_id):
        Creator.objects.locked(link.creator_id)
        change = _pending(link)
        changed = change is not None and _move(link.creator_id, change.new_email)
        if change is not None and changed:
            EmailChange.objects.filter(pk=change.pk).update(confirmed_at=timezone.now())
            _undo_if_moved_back(change)
            record(Event.EMAIL_CHANGED, client=client, creator_id=link.creator_id)
            both = [change.old_email, change.new_email]
            notices.add(Kind.EMAIL_CHANGED, creator_id=link.creator_id, client=client, to=both)
    if not changed:
        raise InvalidLinkError


def can_undo(uid: str, token: str) -> bool:
    try:
        link = link_tokens.read(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _undoable(link) is not None


def undo_change(*, uid: str, token: str, client: ClientInfo) -> link_tokens.Link:
    """The account has the address of before the change; later changes are undone, all sessions and links end.

    No recovery step of the account's present holder ends a link to undo: that could be the thief. The
    thief knows the password, so until it is reset it allows nothing but a sign-in. Returns a link to reset
    it: whoever follows a link to undo reads the mailbox, and a mail of its own could be held up.

    Raises InvalidLinkError: the link is dead.
    """
    link = link_tokens.read(uid, token)
    with tenant_scope(link.creator_id):
        creator = Creator.objects.locked(link.creator_id)
        change = _undoable(link)
        undone = creator is not None and change is not None and _move(creator.pk, change.old_email)
        if creator is not None and change is not None and undone:
            _undo_from(creator.pk, change.number)
            Creator.objects.filter(pk=creator.pk).update(must_reset_password=True)
            reset_link = links.issue_reset_link(Creator.objects.get(pk=creator.pk))
            sessions.end_sessions(creator_id=creator.pk, reason=Session.End.EMAIL)
            record(Event.EMAIL_CHANGE_UNDONE, client=client, creator_id=creator.pk)
            both = {change.old_email, creator.email}
            notices.add(Kind.EMAIL_CHANGE_UNDONE, creator_id=creator.pk, client=client, to=sorted(both))
    if not undone:
        raise InvalidLinkError
    return reset_link


def _pending(link: link_tokens.Link) -> EmailChange | None:
    """Called inside the creator's scope."""
    tokens = EmailChangeToken.objects.alive(link).filter(purpose=Purpose.CONFIRM)
    return EmailChange.objects.filter(
        creator_id=link.creator_id, pk__in=tokens.values("change"), confirmed_at=None, superseded_at=None
    ).first()


def _undoable(link: link_tokens.Link) -> EmailChange | None:
    """Called inside the creator's scope."""
    tokens = EmailChangeToken.objects.matching(link).filter(purpose=Purpose.UNDO)
    return EmailChange.objects.filter(
        creator_id=link.creator_id, pk__in=tokens.values("change"), undone_at=None
    ).first()


def _undo_from(creator_id: UUID, number: int) -> None:
    later = EmailChange.objects.filter(creator_id=creator_id, number__gte=number, undone_at=None)
    later.update(undone_at=timezone.now())


def _undo_if_moved_back(change: EmailChange) -> None:
    """A change back to an address that an undo could restore is that undo.

    Else the link to undo the way back, mailed to the address in between, would outlive it.
    """
    undoable = EmailChange.objects.filter(
        creator_id=change.creator_id,
        old_email=change.new_email,
        undone_at=None,
        undo_expires_at__gt=timezone.now(),
    )
    first = undoable.aggregate(first=Min("number"))["first"]
    if first is not None:
        _undo_from(change.creator_id, first)


def _move(creator_id: UUID, email: str) -> bool:
    """A recovery step. A unique index decides who has an address; a trigger, whether it is reserved."""
    try:
        with transaction.atomic(using=current_alias()):
            Creator.objects.filter(pk=creator_id).update(email=email, email_verified_at=timezone.now())
    except IntegrityError:
        return False
    Creator.objects.filter(pk=creator_id).update(must_reset_password=False)
    Creator.objects.end_links(creator_id)
    return True
