"""Account deletion: the account and its rows are deleted, its audit events stay without personal data."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from accounts import tasks
from accounts.models import Creator
from accounts.sql import Caller
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope

from . import password_hashing, sessions
from .password_change import confirm_password

IN_FLIGHT_GRACE = timedelta(minutes=5)  # no request takes longer


def delete_account(caller: Caller, *, password: str, client: ClientInfo) -> None:
    """Delete the account of the caller.

    Raises:
        WrongPasswordError, AccountLockedError: about the password.
        RateLimitedError: too many passwords are being verified, or its hash changed each time.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.

    """
    anonymous = ClientInfo(request_id=client.request_id)

    def verify_and_delete() -> bool | None:
        verified = confirm_password(caller.id, email=caller.email, password=password, client=client)
        with tenant_scope(caller.id):
            if not sessions.lock_if_unchanged(caller, verified_hash=verified):
                return None
            delete_account_rows(caller.id)
            record(Event.ACCOUNT_DELETED, client=anonymous, creator_id=caller.id)
        return True

    password_hashing.retry_if_changed(verify_and_delete)


def delete_account_rows(creator_id: UUID) -> None:
    """Delete the account and its rows.

    A trigger erases the personal data of its events and its failure counts. A job does it again for requests
    that were in flight.
    """
    with tenant_scope(creator_id):
        Creator.objects.filter(pk=creator_id)._raw_delete(current_alias())  # the database cascades
        erase_again_at = timezone.now() + IN_FLIGHT_GRACE
        tasks.erase_personal_data.using(run_after=erase_again_at).enqueue(str(creator_id))
