"""Leaving: the account and its rows are gone, its events stay."""

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

from . import sessions
from .password_change import confirm_password

IN_FLIGHT_GRACE = timedelta(minutes=5)  # until nothing that began before is still at work


def delete_account(caller: Caller, *, password: str, client: ClientInfo) -> None:
    """The account and its rows are gone; its events stay, without personal data.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: about the password.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.

    """
    encoded = confirm_password(caller.id, email=caller.email, password=password, client=client)
    with tenant_scope(caller.id):
        confirmed = sessions.is_confirmed(caller, password=encoded)
        if confirmed:
            delete_account_rows(caller.id)
            record(
                Event.ACCOUNT_DELETED, client=ClientInfo(request_id=client.request_id), creator_id=caller.id
            )
    if not confirmed:  # the hash is another one by now: is the password still right?
        delete_account(caller, password=password, client=client)


def delete_account_rows(creator_id: UUID) -> None:
    """The account, its rows and the count at the address that it held; inside a transaction of theirs.

    A trigger (migration 0016) erases the personal data beside its events.
    """
    creator = Creator.objects.filter(pk=creator_id)
    creator._raw_delete(current_alias())  # the database cascades
    # of what is just now under way, once more
    tasks.forget_personal_data.using(run_after=timezone.now() + IN_FLIGHT_GRACE).enqueue(str(creator_id))
