"""The SQL functions that this app calls; their text is in the `.sql` files of this folder."""

from datetime import date
from uuid import UUID

from tenancy.functions import database_function


@database_function(tenant="tenant")
def record_event(
    *,
    tenant: UUID,
    event_type: str,
    request: str,
    details: str,  # JSON
    address: str | None,
    agent: str,
    mailbox: str,
) -> UUID:
    raise NotImplementedError


@database_function()
def audit_ensure_partitions(*, months: int) -> int:
    raise NotImplementedError


@database_function()
def audit_drop_partition(*, month: date) -> None: ...
