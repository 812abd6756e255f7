"""Signing up, with the same answer and the same work for every address."""

from contextlib import suppress

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import get_language
from uuid_utils.compat import uuid7

from accounts import tasks
from accounts.email_addresses import canonical_email
from accounts.models import Creator
from accounts.ratelimits import limits
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import password_hashing


def register(*, email: str, password: str, display_name: str, client: ClientInfo) -> None:
    """Keep the sign-up and queue its mail; whether the address is taken is found out by the worker.

    Each sign-up is a row with a password of its own that holds the address only once its link was
    used with that password: whoever signs a stranger up first owns nothing. Without verification
    the first sign-up holds the address at once, and a later one creates nothing.

    Raises:
        WeakPasswordError: the validators refuse the password.

    """
    email = canonical_email(email)
    password_hashing.validate(password, email=email, display_name=display_name)
    creator = Creator(
        id=uuid7(),
        email=email,
        password=password_hashing.hash_password(password),
        display_name=display_name,
        holds_email=not settings.REQUIRE_EMAIL_VERIFICATION,
    )
    mail = limits.allows_mail("verify", email, client)
    with tenant_scope(creator.id):
        _create(creator)
        record(Event.REGISTRATION_REQUESTED, client=client, creator_id=creator.id, email=email)
        if mail:
            tasks.send_registration_mail.enqueue(str(creator.id), email, _language())
        else:  # what was just recorded, if nothing was created
            tasks.forget_personal_data.enqueue(str(creator.id))


def _create(creator: Creator) -> None:
    """Nothing is created if the account would hold an address that is taken or reserved."""
    if not creator.holds_email:
        creator.save(force_insert=True)
        return
    with suppress(IntegrityError), transaction.atomic(using=current_alias()):  # raised by the trigger alone
        Creator.objects.bulk_create([creator], ignore_conflicts=True)


def resend_verification(*, email: str, client: ClientInfo) -> None:
    """Queue the mails for the sign-ups that wait at this address, if any do."""
    email = canonical_email(email)
    if limits.allows_mail("verify", email, client):
        tasks.resend_verification_mails.enqueue(email, client.ip_address, _language())


def _language() -> str:
    return get_language() or settings.LANGUAGE_CODE
