"""The database functions that this app calls; each is documented in the `.sql` file of its name.

Times are aware datetimes. An `idle` or `grace` of None means that there is no such limit or period.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tenancy.functions import database_function


@dataclass(frozen=True)
class Caller:
    """The creator whom a live access token names; also `request.user`."""

    id: UUID
    email: str
    display_name: str
    email_verified: bool
    created_at: datetime
    last_login_at: datetime | None
    session_id: UUID
    email_undeliverable: bool = False

    is_authenticated = True
    is_anonymous = False
    is_active = True

    @property
    def pk(self) -> UUID:
        return self.id


@dataclass(frozen=True)
class Account:
    """An account that may sign in."""

    id: UUID
    password: str  # the hash


@dataclass(frozen=True)
class Start:
    """A session that was inserted."""

    is_new_device: bool


@dataclass(frozen=True)
class Rotation:
    """The successor of a refresh token; meaningless columns if it was "reused"."""

    outcome: str  # "rotated", "replayed" or "reused"
    id: UUID
    kid: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Reservation:
    """Whether an attempt may verify a password."""

    verdict: str  # "go", "wait" or "locked"
    locked_until: datetime | None


@dataclass(frozen=True)
class EventAtAddress:
    """An audit event without an account, with its personal data."""

    id: UUID
    at: datetime
    type: str
    request_id: str
    detail: dict[str, Any]
    ip_address: str | None
    user_agent: str
    email: str


@database_function()
def find_creator(*, address: str) -> UUID | None: ...


@database_function(sets_tenant=True)
def find_account(*, address: str) -> Account | None: ...


@database_function(tenant="creator", sets_tenant=True)
def identify_caller(
    *, creator: UUID, session: UUID, token: UUID, idle: timedelta | None
) -> Caller | None: ...


@database_function(tenant="creator", sets_tenant=True)
def start_session(
    *,
    creator: UUID,
    verified_hash: str | None,
    new_hash: str | None,
    session: UUID,
    token: UUID,
    signing_kid: str,
    started_at: datetime,
    ends_at: datetime,
    ip_address: str | None,
    user_agent: str,
    device: str,
) -> Start | None: ...


@database_function(tenant="creator", sets_tenant=True)
def rotate_refresh(
    *,
    creator: UUID,
    family: UUID,
    token: UUID,
    successor: UUID,
    signing_kid: str,
    used_now: datetime,
    grace: timedelta | None,
    idle: timedelta | None,
) -> Rotation | None: ...


@database_function()
def lockout_reserve(
    *,
    login_scope: str,
    address: str,
    reservation: UUID,
    max_failures: int,
    lock_duration: timedelta,
    lease: timedelta,
) -> Reservation:
    raise NotImplementedError


@database_function()
def lockout_finish(*, login_scope: str, address: str, reservation: UUID, failed: bool) -> int | None: ...


@database_function()
def lockout_release(*, reservation: UUID) -> None: ...


@database_function()
def lockout_unlock(*, login_scope: str, address: str) -> None: ...


@database_function()
def events_at_own_address(*, after: UUID, max_rows: int) -> list[EventAtAddress]:
    raise NotImplementedError
