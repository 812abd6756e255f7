"""Password reset by an emailed link."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts import link_tokens, tasks
from accounts.email_addresses import canonical_email
from accounts.exceptions import InvalidLinkError
from accounts.mail.language import current_language
from accounts.models import Creator, PasswordResetToken, SecurityNotice
from accounts.ratelimits import limits
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import lockout, login, notices, password_hashing, sessions


def request_reset(*, email: str, client: ClientInfo) -> None:
    """Queue the email. The worker finds out whether the address has an account."""
    email = canonical_email(email)
    record(Event.PASSWORD_RESET_REQUESTED, client=client, creator_id=login.holder_of(email), email=email)
    if limits.allows_mail("reset", email, client):
        tasks.send_reset_mail.enqueue(email, current_language())


def is_usable(uid: str, token: str) -> bool:
    """Whether the link accepts a new password. Uses nothing up: mail scanners follow links."""
    try:
        link = link_tokens.parse(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _usable(link).exists()


def reset_password(*, uid: str, token: str, new_password: str, client: ClientInfo) -> None:
    """Set the password, end all sessions and links, unlock the account, notify the owner.

    Raises:
        InvalidLinkError: the link is invalid.
        WeakPasswordError: the validators refuse the password; the link stays usable.

    """
    link = link_tokens.parse(uid, token)
    creator = _creator_of(link)
    password_hashing.validate(
        new_password, email=creator.email, display_name=creator.display_name, field="new_password"
    )
    encoded = password_hashing.hash_password(new_password)
    with tenant_scope(creator.pk):
        Creator.objects.lock_row(creator.pk)  # serializes parallel resets and sign-ins
        if not _usable(link).update(used_at=timezone.now()):
            raise InvalidLinkError
        Creator.objects.filter(pk=creator.pk).update(
            password=encoded, email_verified_at=timezone.now(), must_reset_password=False
        )
        Creator.objects.end_links(creator.pk)
        sessions.end_sessions(creator_id=creator.pk)
        lockout.unlock(creator.email)
        record(Event.PASSWORD_RESET, client=client, creator_id=creator.pk)
        notices.add(SecurityNotice.Kind.PASSWORD_RESET, creator_id=creator.pk, client=client)


def _usable(link: link_tokens.Link) -> QuerySet[Any]:
    return PasswordResetToken.objects.valid(link).filter(used_at=None)


def _creator_of(link: link_tokens.Link) -> Creator:
    with tenant_scope(link.creator_id):
        is_usable = _usable(link).exists()
        creator = Creator.objects.filter(pk=link.creator_id, is_active=True, holds_email=True).first()
    if not is_usable or creator is None:
        raise InvalidLinkError
    return creator
