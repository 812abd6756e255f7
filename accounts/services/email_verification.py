"""Email verification: the link proves access to the mailbox, the password identifies the sign-up."""

from enum import Enum, auto
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts import link_tokens
from accounts.exceptions import InvalidLinkError
from accounts.models import Creator, EmailVerificationToken
from accounts.tokens.jwt import TokenPair
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import password_hashing, sessions

MAX_ATTEMPTS = 5  # passwords per link


class Outcome(Enum):
    CONFIRMED = auto()
    REPEATED = auto()  # the same link confirmed it before
    REFUSED = auto()


def verify_email(*, uid: str, token: str, password: str, client: ClientInfo) -> None:
    """Make the sign-up an account. A repetition with the same link and password changes nothing.

    This allows a retry if the first response was lost.

    Raises:
        InvalidLinkError: the link is invalid or out of attempts, the password is wrong, or another
            sign-up confirmed the address first.

    """
    _verify(link_tokens.parse(uid, token), password, client)


def verify_email_and_log_in(*, uid: str, token: str, password: str, client: ClientInfo) -> TokenPair:
    """`verify_email`, then start a session for the client."""
    link = link_tokens.parse(uid, token)
    verified, now = _verify(link, password, client), timezone.now()
    new = sessions.new_session(creator_id=verified.id, client=client, now=now)
    with tenant_scope(verified.id):
        Creator.objects.lock_row(verified.id)
        is_valid = EmailVerificationToken.objects.valid(link).exists()
        started = sessions.start_session(new, verified_hash=verified.password) if is_valid else None
        if started is not None:
            session = str(started.token.session_id)
            record(Event.LOGIN_SUCCEEDED, client=client, creator_id=verified.id, session=session)
    if started is None:  # meanwhile deactivated, or a recovery step ended the link
        raise InvalidLinkError
    return sessions.token_pair(started.token, now=now)


def _verify(link: link_tokens.Link, password: str, client: ClientInfo) -> Creator:
    creator = _count_attempt(link)
    if not password_hashing.verify(password, creator.password).is_right:
        record(Event.EMAIL_VERIFICATION_FAILED, client=client, creator_id=creator.pk)
        raise InvalidLinkError
    with tenant_scope(creator.pk):
        outcome = _confirm(link)
        if outcome is Outcome.CONFIRMED:
            record(Event.EMAIL_VERIFIED, client=client, creator_id=creator.pk)
    if outcome is Outcome.REFUSED:
        raise InvalidLinkError
    return creator


def is_usable(uid: str, token: str) -> bool:
    """Whether a password can be sent with the link. Uses nothing up: mail scanners follow links."""
    try:
        link = link_tokens.parse(uid, token)
    except InvalidLinkError:
        return False
    with tenant_scope(link.creator_id):
        return _usable(link).exists()


def _usable(link: link_tokens.Link) -> QuerySet[Any]:
    """After the confirmation only the link that confirmed is usable, for a client that lost the response."""
    tokens = EmailVerificationToken.objects.valid(link).filter(attempts__lt=MAX_ATTEMPTS)
    return tokens.filter(Q(creator__email_verified_at=None) | Q(used_at__isnull=False))


def _count_attempt(link: link_tokens.Link) -> Creator:
    """Count the attempt before verifying the password: parallel requests can't exceed MAX_ATTEMPTS."""
    with tenant_scope(link.creator_id):
        creator = Creator.objects.lock_row(link.creator_id)
        counted = _usable(link).update(attempts=F("attempts") + 1)
    if creator is None or not counted:
        raise InvalidLinkError
    return creator


def _confirm(link: link_tokens.Link) -> Outcome:
    """Check the link again while the account is locked: a recovery step may have ended it meanwhile."""
    creator = Creator.objects.lock_row(link.creator_id)
    token = EmailVerificationToken.objects.valid(link).first()
    if creator is None or token is None:
        return Outcome.REFUSED
    if creator.email_verified_at:
        return Outcome.REPEATED if token.used_at else Outcome.REFUSED
    EmailVerificationToken.objects.filter(pk=token.pk).update(used_at=timezone.now())
    return Outcome.CONFIRMED if hold_address(creator.pk) else Outcome.REFUSED


def hold_address(creator_id: UUID) -> bool:
    """Make the sign-up the account of its address; False if another account has the address."""
    with tenant_scope(creator_id):
        try:
            with transaction.atomic(using=current_alias()):
                Creator.objects.filter(pk=creator_id).update(
                    holds_email=True, email_verified_at=timezone.now()
                )
        except IntegrityError:
            return False
    return True
