"""Confirming an e-mail address: the link proves the mailbox, the password that the sign-up is theirs."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import links
from accounts.exceptions import InvalidLinkError
from accounts.models import Creator, EmailVerificationToken
from accounts.services import passwords, sessions
from accounts.tokens import TokenPair
from audit.book import record
from audit.clients import Client
from audit.events import Event
from tenancy.context import current_alias, tenant_scope

MAXIMUM_ATTEMPTS = 5  # passwords for one link


@dataclass(frozen=True)
class _Attempt:
    creator_id: UUID
    token_id: UUID
    password: str  # hash


def issue_token(creator_id: UUID) -> links.Link:
    """A new token for the worker to mail; only its digest stays."""
    link, now = links.new(creator_id), timezone.now()
    EmailVerificationToken.objects.create(
        creator_id=creator_id,
        digest=link.digest,
        created_at=now,
        expires_at=now + settings.EMAIL_VERIFICATION_TOKEN_LIFETIME,
    )
    return link


def verify_email(*, uid: str, token: str, password: str, client: Client) -> UUID:
    """Make the sign-up an account and return its id.

    Raises:
        InvalidLinkError: no such link, spent, expired, out of attempts, wrong password, or somebody
            else confirmed the address first.

    """
    attempt = _begin(links.read(uid, token))
    verdict = passwords.verify(password, attempt.password)
    if not verdict.is_right:
        record(Event.EMAIL_VERIFICATION_FAILED, client=client, creator_id=attempt.creator_id)
        raise InvalidLinkError
    with tenant_scope(attempt.creator_id):
        confirmed = _confirm(attempt, timezone.now())
        if confirmed:
            record(Event.EMAIL_VERIFIED, client=client, creator_id=attempt.creator_id)
    if not confirmed:
        raise InvalidLinkError
    return attempt.creator_id


def verify_email_and_log_in(*, uid: str, token: str, password: str, client: Client) -> TokenPair:
    """`verify_email`, and a session for the client that did it."""
    creator_id = verify_email(uid=uid, token=token, password=password, client=client)
    now = timezone.now()
    new = sessions.new_session(creator_id=creator_id, client=client, now=now)
    with tenant_scope(creator_id):
        start = sessions.start_session(new)
        if start is None:  # deactivated in the meantime
            raise InvalidLinkError
        session = str(start.token.session_id)
        record(Event.LOGIN_SUCCEEDED, client=client, creator_id=creator_id, session=session)
    return sessions.token_pair(start.token, now=now)


def is_usable(uid: str, token: str) -> bool:
    """Whether the link would take a password; spends nothing (mail scanners follow links)."""
    try:
        link = links.read(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _usable(link).exists()


def _usable(link: links.Link) -> QuerySet[EmailVerificationToken]:
    return EmailVerificationToken.objects.filter(
        creator_id=link.creator_id,
        digest=link.digest,
        used_at=None,
        expires_at__gt=timezone.now(),
        attempts__lt=MAXIMUM_ATTEMPTS,
    )


def _begin(link: links.Link) -> _Attempt:
    """Count the attempt before the password is looked at, so that a race has no more than five either."""
    with tenant_scope(link.creator_id):
        counted = _usable(link).update(attempts=F("attempts") + 1)
        row = (
            Creator.objects.filter(pk=link.creator_id, is_active=True)
            .values_list("password", flat=True)
            .first()
        )
        token = EmailVerificationToken.objects.filter(digest=link.digest, creator_id=link.creator_id).first()
    if not counted or row is None or token is None:
        raise InvalidLinkError
    return _Attempt(link.creator_id, token.pk, row)


def _confirm(attempt: _Attempt, now: datetime) -> bool:
    """One conditional UPDATE picks the winner of a link, one unique index the winner of an address."""
    unused = EmailVerificationToken.objects.filter(creator_id=attempt.creator_id, used_at=None)
    Creator.objects.locked(attempt.creator_id)  # two links of one sign-up come one after the other
    if not unused.filter(pk=attempt.token_id).update(used_at=now):
        return False
    return hold_address(attempt.creator_id)


def hold_address(creator_id: UUID) -> bool:
    """Make the sign-up the account of its address, and its links useless; False where there is another.

    Called inside a transaction.
    """
    now = timezone.now()
    try:
        with transaction.atomic(using=current_alias()):
            Creator.objects.filter(pk=creator_id).update(holds_email=True, email_verified_at=now)
    except IntegrityError:
        return False
    unused = EmailVerificationToken.objects.filter(creator_id=creator_id, used_at=None)
    unused.update(used_at=now)  # a link that was sent twice confirms once
    return True
