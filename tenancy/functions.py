"""Typed Python declarations of database functions.

`<app>/sql/<name>.sql` contains the function. A declaration gives its parameters and the type of its result:

    @database_function(tenant="creator", sets_tenant=True)
    def rotate_refresh(*, creator: UUID, family: UUID) -> Rotation | None: ...

A call is one statement without a Django cursor, at half the cost. Django neither logs nor counts it.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import signature
from itertools import starmap
from typing import Any, ParamSpec, TypeVar, cast, get_args, get_origin, get_type_hints

from django.db import connections

from .context import current_alias, current_tenant, set_tenant
from .exceptions import TenantMismatchError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Declaration = Callable[Parameters, Result]


def database_function(
    *, tenant: str | None = None, sets_tenant: bool = False
) -> Callable[[Declaration[Parameters, Result]], Declaration[Parameters, Result]]:
    """Make the declaration call the database function of the same name, with named parameters.

    The return annotation is a scalar, a dataclass with one field per column (both may be `| None`), or a
    list of such dataclasses. `tenant` names the parameter with the tenant's id. `sets_tenant` says that the
    function sets the tenant; the call resets it, unless a scope is open.

    A call raises:
        TenantMismatchError: inside a scope, if the scope's tenant differs from the parameter `tenant`, or if
            the function sets the tenant and has no such parameter.

    """
    is_bound = sets_tenant or tenant is not None

    def declare(declared: Declaration[Parameters, Result]) -> Declaration[Parameters, Result]:
        statement, to_result = _statement(declared)

        @wraps(declared)
        def call(*args: Parameters.args, **values: Parameters.kwargs) -> Result:
            scope, connection = current_tenant(), cast("Any", connections[current_alias()])
            if is_bound and scope is not None and values.get(tenant or "") != scope:
                raise TenantMismatchError
            rows = connection.fetch_rows(statement, values)
            if sets_tenant and scope is None and connection.in_atomic_block:
                set_tenant(connection, None)
            return cast("Result", to_result(rows))

        return call

    return declare


def _statement(declared: Callable[..., Any]) -> tuple[str, Callable[[list[Any]], Any]]:
    """The SQL of a call, and a function that converts the rows to the result."""
    arguments = ", ".join(f"{name} => %({name})s" for name in signature(declared).parameters)
    call, result = f"{declared.__name__}({arguments})", get_type_hints(declared)["return"]
    row: Any = next(filter(is_dataclass, (result, *get_args(result))), None)
    if row is None:
        return f"SELECT {call}", lambda rows: rows[0][0]
    statement = f"SELECT {', '.join(field.name for field in fields(row))} FROM {call}"
    if get_origin(result) is list:
        return statement, lambda rows: [*starmap(row, rows)]
    return statement, lambda rows: row(*rows[0]) if rows else None
