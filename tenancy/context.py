"""The current tenant and the current database alias.

The RLS policies (`constraints.py`) read the tenant from a PostgreSQL setting. This module sets it, always for
one transaction.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .exceptions import TenantMismatchError

TENANT_SETTING = "app.current_creator_id"
OPERATOR = "operator"  # alias of the role that sees all tenants

_alias: ContextVar[str] = ContextVar("tenancy_alias", default=DEFAULT_DB_ALIAS)
_tenants: ContextVar[Mapping[str, UUID]] = ContextVar("tenancy_tenants", default=MappingProxyType({}))


def current_alias() -> str:
    """The database alias that this request, command or job uses."""
    return _alias.get()


def current_tenant() -> UUID | None:
    """The tenant of the open scope on the current alias, None outside a scope."""
    return _tenants.get().get(current_alias())


def is_scoped(alias: str) -> bool:
    """Whether a scope is open on this connection."""
    return alias in _tenants.get()


@contextmanager
def using_alias(alias: str) -> Iterator[None]:
    """Use `alias` for all queries and scopes inside the block."""
    token = _alias.set(alias)
    try:
        yield
    finally:
        _alias.reset(token)


@contextmanager
def tenant_scope(tenant: UUID) -> Iterator[None]:
    """A transaction in which PostgreSQL shows only the rows of `tenant`.

    Nested scopes of one tenant share the outer transaction. Evaluate querysets inside the scope: later
    queries, also those of streaming responses and `on_commit` callbacks, see no rows.

    Raises:
        TenantMismatchError: inside the scope of another tenant.

    """
    outer = current_tenant()
    if outer is not None and outer != tenant:
        raise TenantMismatchError
    alias = current_alias()
    with transaction.atomic(using=alias, savepoint=False):
        if outer is not None:
            yield
            return
        with _bind_tenant(alias, tenant):
            yield


@contextmanager
def _bind_tenant(alias: str, tenant: UUID) -> Iterator[None]:
    token, connection = _tenants.set({**_tenants.get(), alias: tenant}), connections[alias]
    try:
        set_tenant(connection, tenant)
        yield
        if len(connection.atomic_blocks) > 1 and not connection.needs_rollback:
            set_tenant(connection, None)  # in an outer transaction the setting would outlive the scope
    finally:
        _tenants.reset(token)


def fetch_row(sql: str, parameters: Mapping[str, Any]) -> Any:
    """The first row of a statement that needs no tenant, without a Django cursor; None if there is no row."""
    connection: Any = connections[current_alias()]
    rows = connection.fetch_rows(sql, parameters)
    return rows[0] if rows else None


def set_tenant(connection: BaseDatabaseWrapper, tenant: UUID | None) -> None:
    """Set the tenant for the current transaction, as SET LOCAL does.

    A session-level SET would leak to the next client of a pooled connection.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [TENANT_SETTING, str(tenant or "")])
