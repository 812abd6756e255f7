"""django-axes, as operators know it, on top of our count.

The state is axes' AccessAttempt: one row for each address and door, whatever the client. Who may
try, and what counts, is decided by `services.lockout`; axes' own way of counting is a race.
"""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler

from accounts.addresses import canonical_email


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
        count: int = super().reset_attempts(username=username and canonical_email(username), **kwargs)
        return count
