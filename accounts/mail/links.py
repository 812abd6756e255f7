"""Issue one-time links when their email is written. The database stores only digests of the tokens."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone

from accounts.link_tokens import Link
from accounts.models import Creator, EmailChange, EmailChangeToken, EmailVerificationToken, PasswordResetToken

MAX_RESET_LINKS = 3  # per account


def issue_verification_link(creator: Creator) -> Link:
    return EmailVerificationToken.objects.issue(
        creator.pk,
        email=creator.email,
        recovery_generation=creator.recovery_generation,
        expires_at=timezone.now() + settings.EMAIL_VERIFICATION_TOKEN_LIFETIME,
    )


def issue_reset_link(creator: Creator) -> Link:
    """A new link. The account's oldest links end if there would be more than MAX_RESET_LINKS.

    After an undo none ends: anybody can request resets, and so could end the link that the undo has shown.
    """
    now = timezone.now()
    if not creator.must_reset_password:
        tokens = PasswordResetToken.objects.filter(creator=creator, used_at=None)
        oldest = tokens.order_by("-created_at").values("pk")[MAX_RESET_LINKS - 1 :]
        PasswordResetToken.objects.filter(pk__in=oldest).update(used_at=now)
    return PasswordResetToken.objects.issue(
        creator.pk,
        email=creator.email,
        recovery_generation=creator.recovery_generation,
        expires_at=now + settings.PASSWORD_RESET_TOKEN_LIFETIME,
    )


def issue_change_link(change: EmailChange, purpose: str, expires_at: datetime) -> Link:
    """A link bound to the address and generation that the account had when the change was requested."""
    return EmailChangeToken.objects.issue(
        change.creator_id,
        change=change,
        purpose=purpose,
        email=change.old_email,
        recovery_generation=change.recovery_generation,
        expires_at=expires_at,
    )
