"""A forgotten password: a link by mail, a new password, everybody else out."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import get_language

from accounts import link_tokens, tasks
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidLinkError
from accounts.models import Creator, PasswordResetToken, SecurityNotice
from accounts.ratelimits import limits
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import lockout, login, notices, password_hashing, sessions


@dataclass(frozen=True)
class _Owner:
    id: UUID
    email: str
    display_name: str


def request_reset(*, email: str, client: ClientInfo) -> None:
    """Queue the link, if there is anybody to send it to; the worker finds out."""
    email = canonical_email(email)
    record(Event.PASSWORD_RESET_REQUESTED, client=client, creator_id=login.holder_of(email), email=email)
    if limits.allows_mail("reset", email, client):
        tasks.send_reset_mail.enqueue(email, get_language() or settings.LANGUAGE_CODE)


def is_usable(uid: str, token: str) -> bool:
    """Whether the link would take a new password; spends nothing (mail scanners follow links)."""
    try:
        link = link_tokens.read(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _usable(link).exists()


def reset_password(*, uid: str, token: str, new_password: str, client: ClientInfo) -> None:
    """Set the password, end all sessions and links, unlock the account, notify the owner.

    Raises:
        InvalidLinkError: the link is dead.
        WeakPasswordError: the validators refuse the password; the link is not spent.

    """
    link = link_tokens.read(uid, token)
    owner = _owner(link)
    password_hashing.validate(
        new_password, email=owner.email, display_name=owner.display_name, field="new_password"
    )
    encoded = password_hashing.hash_password(new_password)
    with tenant_scope(owner.id):
        Creator.objects.locked(owner.id)  # of two links one is first, and so are a reset and a sign-in
        won = bool(_usable(link).update(used_at=timezone.now()))
        if won:
            Creator.objects.filter(pk=owner.id).update(
                password=encoded, email_verified_at=timezone.now(), must_reset_password=False
            )
            Creator.objects.end_links(owner.id)
            sessions.end_sessions(creator_id=owner.id)
            lockout.unlock(owner.email)
            record(Event.PASSWORD_RESET, client=client, creator_id=owner.id)
            notices.add(SecurityNotice.Kind.PASSWORD_RESET, creator_id=owner.id, client=client)
    if not won:
        raise InvalidLinkError


def _usable(link: link_tokens.Link) -> QuerySet[Any]:
    return PasswordResetToken.objects.alive(link).filter(used_at=None)


def _owner(link: link_tokens.Link) -> _Owner:
    with tenant_scope(link.creator_id):
        usable = _usable(link).exists()
        row = (
            Creator.objects.filter(pk=link.creator_id, is_active=True, holds_email=True)
            .values_list("id", "email", "display_name")
            .first()
        )
    if not usable or row is None:
        raise InvalidLinkError
    return _Owner(*row)
