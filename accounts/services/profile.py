"""The profile of a creator."""

from dataclasses import replace
from uuid import UUID

from accounts.models import Creator
from accounts.sql import Caller
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope


def email_of(creator_id: UUID) -> str:
    """The stored address of a creator or a sign-up, "" if it was deleted."""
    with tenant_scope(creator_id):
        return Creator.objects.filter(pk=creator_id).values_list("email", flat=True).first() or ""


def rename(caller: Caller, *, client: ClientInfo, display_name: str | None = None) -> Caller:
    """The caller with the new name; None changes nothing."""
    if display_name is None:
        return caller
    with tenant_scope(caller.id):
        Creator.objects.filter(pk=caller.id).update(display_name=display_name)
        record(Event.PROFILE_UPDATED, client=client, creator_id=caller.id, fields=["display_name"])
    return replace(caller, display_name=display_name)
