"""New one-time links, made when their mail is written: the database keeps only the digests of the tokens."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone

from accounts.link_tokens import Link
from accounts.models import Creator, EmailChange, EmailChangeToken, EmailVerificationToken, PasswordResetToken

RESET_LINKS_ALIVE = 3  # at most, for one account


def issue_verification_link(creator: Creator) -> Link:
    """A new link for the worker to mail."""
    return EmailVerificationToken.objects.issue(
        creator.pk,
        email=creator.email,
        recovery_generation=creator.recovery_generation,
        expires_at=timezone.now() + settings.EMAIL_VERIFICATION_TOKEN_LIFETIME,
    )


def issue_reset_link(creator: Creator) -> Link:
    """A new link; the oldest ones of the account end for it."""
    now = timezone.now()
    own = PasswordResetToken.objects.filter(creator=creator, used_at=None).order_by("-created_at")
    PasswordResetToken.objects.filter(pk__in=own.values("pk")[RESET_LINKS_ALIVE - 1 :]).update(used_at=now)
    return PasswordResetToken.objects.issue(
        creator.pk,
        email=creator.email,
        recovery_generation=creator.recovery_generation,
        expires_at=now + settings.PASSWORD_RESET_TOKEN_LIFETIME,
    )


def issue_change_link(change: EmailChange, purpose: str, expires_at: datetime) -> Link:
    """Bound to the account as it was when the change was requested, not as it is when the mail is written."""
    return EmailChangeToken.objects.issue(
        change.creator_id,
        change=change,
        purpose=purpose,
        email=change.old_email,
        recovery_generation=change.recovery_generation,
        expires_at=expires_at,
    )
