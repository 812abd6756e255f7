"""Who the tenant is, and on which connection.

PostgreSQL decides what a tenant may see (`constraints.py`); this file tells it who the tenant is,
always for one transaction and never longer.
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
OPERATOR = "operator"  # alias of the role that sees every tenant

_alias: ContextVar[str] = ContextVar("tenancy_alias", default=DEFAULT_DB_ALIAS)
_tenants: ContextVar[Mapping[str, UUID]] = ContextVar("tenancy_tenants", default=MappingProxyType({}))


def current_alias() -> str:
    """The database alias that this request, command or job speaks through."""
    return _alias.get()


def current_tenant() -> UUID | None:
    """The tenant of the scope that is open on the current alias, None outside any."""
    return _tenants.get().get(current_alias())


def is_scoped(alias: str) -> bool:
    """Whether a scope is open on this connection."""
    return alias in _tenants.get()


@contextmanager
def using_alias(alias: str) -> Iterator[None]:
    """Send everything inside through `alias`: reads, writes, scopes and the audit writer alike."""
    token = _alias.set(alias)
    try:
        yield
    finally:
        _alias.reset(token)


@contextmanager
def tenant_scope(tenant: UUID) -> Iterator[None]:
    """A transaction in which PostgreSQL shows the rows of `tenant` and no others.

    Nested scopes of one tenant share the outer transaction. Nothing lazy outlives it: querysets,
    streaming bodies and `on_commit` callbacks that run later see no rows.

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
            set_tenant(connection, None)  # inside a longer transaction the setting would outlive the scope
    finally:
        _tenants.reset(token)


def fetch_row(sql: str, parameters: Mapping[str, Any]) -> Any:
    """The first row of a statement that needs no tenant, by the driver alone; None for no row."""
    connection: Any = connections[current_alias()]
    rows = connection.fetch_rows(sql, parameters)
    return rows[0] if rows else None


def set_tenant(connection: BaseDatabaseWrapper, tenant: UUID | None) -> None:
    """The only writer of the setting (on Citus it would be SET LOCAL); for scopes and for probes.

    Local to the transaction: a session-level SET leaks to the next client of a pooled connection.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [TENANT_SETTING, str(tenant or "")])
