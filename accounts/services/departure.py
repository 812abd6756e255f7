"""The owner's rights: taking everything along, and leaving."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts import tasks
from accounts.models import Creator, SecurityNotice, Session, UserSession
from accounts.services.password_change import confirm_password
from accounts.services.sessions import Caller
from audit import views as book
from audit.book import record
from audit.clients import Client
from audit.events import Event
from tenancy.context import current_alias, tenant_scope

STRAGGLERS = timedelta(minutes=5)  # until nothing that began before is still at work


def export(caller: Caller, *, client: Client) -> dict[str, Any]:
    """All that is held about the creator, but for secrets and their digests."""
    with tenant_scope(caller.id):
        record(Event.ACCOUNT_EXPORTED, client=client, creator_id=caller.id)
        own = {"creator_id": caller.id}
        return {
            "profile": Creator.objects.filter(pk=caller.id)
            .values("id", "email", "display_name", "email_verified_at", "created_at", "last_login")
            .get(),
            "sessions": list(
                Session.objects.filter(**own).values(
                    "id", "created_at", "last_used_at", "expires_at", "ended_at", "ip_address", "user_agent"
                )
            ),
            "end_user_sessions": list(
                UserSession.objects.filter(**own).values("id", "created_at", "expires_at", "metadata")
            ),
            "security_notices": list(
                SecurityNotice.objects.filter(**own).values("kind", "at", "ip_address", "device")
            ),
            "audit_events": book.as_json(caller.id, list(book.events_of(caller.id).order_by("id"))),
        }


def delete_account(caller: Caller, *, password: str, client: Client) -> None:
    """The account and its rows are gone; its events stay, without personal data.

    Raises:
        WrongPasswordError, AccountLockedError, RateLimitedError: the password did not open.

    """
    confirm_password(caller, password=password, client=client)
    with tenant_scope(caller.id):
        remove(caller.id)
        record(Event.ACCOUNT_DELETED, client=Client(request_id=client.request_id), creator_id=caller.id)


def remove(creator_id: UUID) -> None:
    """The account, its rows and the count at the address that it held; inside a transaction of theirs.

    A trigger (migration 0015) erases the personal data beside its events.
    """
    creator = Creator.objects.filter(pk=creator_id)
    creator._raw_delete(current_alias())  # the database cascades
    # of what is just now under way, once more
    tasks.forget_personal_data.using(run_after=timezone.now() + STRAGGLERS).enqueue(str(creator_id))
