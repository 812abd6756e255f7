"""Raises an error if a tenant table is queried outside `tenant_scope()`; for development and tests.

Without it such a query returns no rows, which hides the mistake.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.signals import connection_created

from .constraints import tenant_models
from .context import is_scoped
from .exceptions import TenantScopeRequiredError


@cache
def _tenant_table_pattern() -> re.Pattern[str]:
    names = "|".join(re.escape(model._meta.db_table) for model in tenant_models(apps))
    return re.compile(rf'(?<![\w"])"?({names})"?(?![\w"])')


def guard(execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: dict[str, Any]) -> Any:
    """A database execute wrapper."""
    if not is_scoped(context["connection"].alias) and (match := _tenant_table_pattern().search(str(sql))):
        message = f"query on {match[1]} outside tenant_scope()"
        raise TenantScopeRequiredError(message)
    return execute(sql, params, many, context)


def install_guard() -> None:
    """Guard all connections of the app role that are opened after this call."""
    connection_created.connect(_guard_connection, dispatch_uid="tenancy.guard")


def _guard_connection(connection: Any, **kwargs: Any) -> None:
    if connection.alias == DEFAULT_DB_ALIAS and guard not in connection.execute_wrappers:
        connection.execute_wrappers.append(guard)
