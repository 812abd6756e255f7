"""The export of all data about a creator except secrets and their digests, read page by page."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from accounts import sql
from accounts.email_addresses import display_email
from accounts.exceptions import InvalidTokenError
from accounts.models import Creator, EmailChange, EndUserSession, SecurityNotice, Session
from accounts.ratelimits import limits
from accounts.sql import Caller
from audit.events import Event, summary_of
from audit.queries import as_dicts, events_of
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias, tenant_scope, using_alias

PAGE_SIZE = 200  # rows; that of an end user's session has up to 4 KiB
Page = list[dict[str, Any]]

_PROFILE = (
    "id", "email", "display_name", "email_verified_at", "email_undeliverable_at", "created_at", "last_login"
)  # fmt: skip
_ROWS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "sessions": (
        Session,
        ("id", "created_at", "last_used_at", "expires_at", "ended_at", "ip_address", "user_agent", "device"),
    ),
    "end_user_sessions": (EndUserSession, ("id", "created_at", "expires_at", "metadata")),
    "email_changes": (
        EmailChange,
        ("id", "old_email", "new_email", "created_at", "expires_at", "confirmed_at", "undone_at"),
    ),
    "security_notices": (SecurityNotice, ("id", "kind", "email", "at", "ip_address", "device")),
}


def export(caller: Caller, *, client: ClientInfo) -> dict[str, Any]:
    """Name → value, or an iterator of pages. Each page is a list of rows and is read in its own short scope.

    Raises:
        RateLimitedError, LimitsUnavailableError: see limits.check_export.
        InvalidTokenError: the account was deleted meanwhile.

    """
    limits.check_export(caller.id)
    with tenant_scope(caller.id):
        record(Event.ACCOUNT_EXPORTED, client=client, creator_id=caller.id)
        profile = Creator.objects.filter(pk=caller.id).values(*_PROFILE).first()
    if profile is None:
        raise InvalidTokenError
    pages = partial(_pages, caller.id, current_alias())
    return {
        "profile": profile | {"email": display_email(profile["email"])},
        **{
            name: pages(partial(_rows, model.objects.filter(creator_id=caller.id), columns))
            for name, (model, columns) in _ROWS.items()
        },
        "audit_events": pages(partial(_events, caller.id)),
        "address_events": pages(_events_at_own_address),
    }


def _pages(creator_id: UUID, alias: str, read: Callable[[UUID], Page]) -> Iterator[Page]:
    """Pages in order of ids. Takes the alias, because the body is streamed after `using_alias` has ended."""
    last = UUID(int=0)
    while True:
        with using_alias(alias), tenant_scope(creator_id):
            page = read(last)
        if not page:
            return
        yield page
        last = UUID(str(page[-1]["id"]))


def _rows(rows: QuerySet, columns: tuple[str, ...], after: UUID) -> Page:
    return list(rows.filter(id__gt=after).order_by("id").values(*columns)[:PAGE_SIZE])


def _events(creator_id: UUID, after: UUID) -> Page:
    events = events_of(creator_id).filter(id__gt=after).order_by("id")[:PAGE_SIZE]
    return as_dicts(creator_id, list(events))


def _events_at_own_address(after: UUID) -> Page:
    """Events recorded at the creator's address without an account, for example before the sign-up."""
    events = sql.events_at_own_address(after=after, max_rows=PAGE_SIZE)
    return [asdict(event) | {"summary": summary_of(event.type, event.detail)} for event in events]
