"""Sign-up, with the same response and the same work for every address."""

from contextlib import suppress

from django.conf import settings
from django.db import IntegrityError, transaction
from uuid_utils.compat import uuid7

from accounts import tasks
from accounts.email_addresses import canonical_email
from accounts.mail.language import current_language
from accounts.models import Creator
from accounts.ratelimits import limits
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import password_hashing


def register(*, email: str, password: str, display_name: str, client: ClientInfo) -> None:
    """Store the sign-up and queue its email. The worker finds out whether the address is taken.

    Each sign-up is a row with its own password. It holds the address only after its link was used with that
    password, so signing a stranger up gives no access to the stranger's account. Without email verification
    the first sign-up holds the address at once, and later ones create nothing.

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
    may_mail = limits.allows_mail("verify", email, client)
    with tenant_scope(creator.id):
        _insert(creator)
        record(Event.REGISTRATION_REQUESTED, client=client, creator_id=creator.id, email=email)
        if may_mail:
            tasks.send_registration_mail.enqueue(str(creator.id), email, current_language())
        else:  # erases what was just recorded, if no row was inserted
            tasks.erase_personal_data.enqueue(str(creator.id))


def _insert(creator: Creator) -> None:
    """Insert the row, unless it would hold an address that is taken or reserved."""
    if not creator.holds_email:
        creator.save(force_insert=True)
        return
    with suppress(IntegrityError), transaction.atomic(using=current_alias()):  # only the trigger raises it
        Creator.objects.bulk_create([creator], ignore_conflicts=True)


def resend_verification(*, email: str, client: ClientInfo) -> None:
    """Queue new links for the pending sign-ups at this address, if there are any."""
    email = canonical_email(email)
    if limits.allows_mail("verify", email, client):
        tasks.resend_verification_mails.enqueue(email, client.ip_address, current_language())
