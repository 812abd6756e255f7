"""django-axes, as operators know it, on top of our count.

The state is axes' AccessAttempt: one row for each address and scope, whatever the client. Who may
try, and what counts, is decided by `services.lockout`; axes' own way of counting is a race.
"""

from typing import Any
from uuid import UUID

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db import transaction

from accounts.services.operators import justification
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias

from .email_addresses import canonical_email
from .models import Creator


class LockoutHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Lists and resets as axes does, and leaves the counting alone."""

    def is_allowed(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        return True

    def user_login_failed(self, sender: Any, credentials: Any, request: Any = None, **kwargs: Any) -> None:
        """Counted already, before the password was looked at."""

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """The count ended with the verdict."""

    def user_logged_out(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Nothing to count."""

    def reset_attempts(self, *, username: str | None = None, **kwargs: Any) -> int:
        """Axes' own, and the book tells who was let in again."""
        email = username and canonical_email(username)
        locked = AccessAttempt.objects.filter(failures_since_start__gte=settings.MAX_FAILED_LOGIN_ATTEMPTS)
        before = set(locked.values_list("pk", "username"))
        count: int = super().reset_attempts(username=email, **kwargs)
        left = set(locked.values_list("pk", "username"))
        for _pk, address in before - left:
            record_unlock(address, ClientInfo())
        return count


def record_unlock(email: str, client: ClientInfo, *, operator_id: UUID | None = None) -> None:
    """Somebody is let in again, by an operator or from the console; of an address without an account there
    is nothing to tell.
    """
    creator = Creator.objects.filter(email=email, holds_email=True).first()
    if creator is None:
        return
    if operator_id is None:
        record(Event.ACCOUNT_UNLOCKED, client=client, creator_id=creator.pk)
        return
    with transaction.atomic(using=current_alias()):
        justification.record_operator_action(
            Event.ACCOUNT_UNLOCKED, creator_id=creator.pk, operator_id=operator_id, client=client
        )
