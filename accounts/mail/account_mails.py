"""The emails about sign-up, password reset and change of address."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts.models import Creator, EmailChange, EmailChangeToken

from . import messages
from .links import issue_change_link, issue_reset_link, issue_verification_link


def send_verification_link(creator: Creator, language: str) -> None:
    hours = settings.EMAIL_VERIFICATION_TOKEN_LIFETIME // timedelta(hours=1)
    url = issue_verification_link(creator).url("verify-email")
    _send_to_creator("verify_email", creator, language, link=url, expires_hours=hours)


def send_reset_link(creator: Creator, language: str, *, by_support: bool) -> None:
    _send_to_creator(
        "password_reset",
        creator,
        language,
        display_name=creator.display_name,
        link=issue_reset_link(creator).url("reset"),
        expires_minutes=settings.PASSWORD_RESET_TOKEN_LIFETIME // timedelta(minutes=1),
        by_support=by_support,
    )


def _send_to_creator(kind: str, creator: Creator, language: str, **context: Any) -> None:
    messages.send(kind, to=creator.email, language=language, creator_id=creator.pk, **context)


def send_change_link(change: EmailChange, language: str) -> None:
    """The link that confirms a change of address, to the new address."""
    link = issue_change_link(change, EmailChangeToken.Purpose.CONFIRM, change.expires_at)
    messages.send(
        "email_change",
        to=change.new_email,
        language=language,
        creator_id=change.creator_id,
        link=link.url("email-change"),
        expires_minutes=settings.EMAIL_CHANGE_LIFETIME // timedelta(minutes=1),
    )


def send_change_notice(change: EmailChange, language: str) -> None:
    """The notice of a change of address with the link that undoes it, to the old address."""
    link = issue_change_link(change, EmailChangeToken.Purpose.UNDO, change.undo_expires_at)
    messages.send(
        "email_change_notice",
        to=change.old_email,
        language=language,
        creator_id=change.creator_id,
        new_email=change.new_email,
        link=link.url("email-change-undo"),
    )


def send_address_taken(email: str, holder: Creator, language: str) -> None:
    """Notify the owner of an account that someone tried to use its address, or one reserved for it."""
    kind = "address_used" if holder.email == email else "address_reserved"
    reset_url = settings.PUBLIC_URL + reverse("password-reset")
    messages.send(kind, to=email, language=language, creator_id=holder.pk, reset_url=reset_url)
