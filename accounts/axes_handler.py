"""django-axes for operators. `services.lockout` counts the failures in axes' table.

An AccessAttempt is the count of one address and scope, which is in `user_agent`; `ip_address` is NULL. Axes'
own counting is replaced because concurrent requests can exceed its limit.
"""

from typing import Any, NoReturn
from uuid import UUID

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.core.management.base import CommandError

from accounts.services.operators import justification
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo

from .email_addresses import canonical_email
from .models import Creator


class LockoutHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Resets failure counts for axes' commands, and counts nothing itself."""

    def is_allowed(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        return True

    def user_login_failed(self, sender: Any, credentials: Any, request: Any = None, **kwargs: Any) -> None:
        """Do nothing: the failure is already counted."""

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Do nothing: the count is already reset."""

    def user_logged_out(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def reset_attempts(self, *, username: str | None = None, ip_address: Any = None, **kwargs: Any) -> int:
        """Delete the counts of one address or of all, and record which accounts were unlocked."""
        if ip_address is not None:
            self._refuse()
        email = username and canonical_email(username)
        locked = AccessAttempt.objects.filter(failures_since_start__gte=settings.MAX_FAILED_LOGIN_ATTEMPTS)
        before = set(locked.values_list("pk", "username"))
        count: int = super().reset_attempts(username=email, **kwargs)
        after = set(locked.values_list("pk", "username"))
        for _pk, address in before - after:
            record_unlock(address, ClientInfo())
        return count

    def _refuse(self, **kwargs: Any) -> NoReturn:
        message = "lockouts count by address and keep no logs: use axes_reset_username ADDRESS or axes_reset"
        raise CommandError(message)

    reset_logs = reset_failure_logs = _refuse


def record_unlock(email: str, client: ClientInfo, *, operator_id: UUID | None = None) -> None:
    """Record that an operator, or a command (None), unlocked the account of this address, if there is one."""
    creator = Creator.objects.filter(email=email, holds_email=True).first()
    if creator is None:
        return
    if operator_id is None:
        record(Event.ACCOUNT_UNLOCKED, client=client, creator_id=creator.pk)
    else:
        justification.record_operator_action(
            Event.ACCOUNT_UNLOCKED, creator_id=creator.pk, operator_id=operator_id, client=client
        )
