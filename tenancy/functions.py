"""Functions of the database as typed Python functions.

The SQL stands in `<app>/sql/<name>.sql`; a declaration gives its parameters and its row:

    @database_function(tenant="creator", sets_tenant=True)
    def rotate_refresh(*, creator: UUID, family: UUID) -> Rotation | None: ...

A call is one statement by the driver alone: half the cost of a Django cursor, and neither logged nor
counted by Django.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
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
    """Make the declared function call the database's function of its name; all parameters are named.

    The return annotation is a scalar, a dataclass whose fields are the columns, either of them `| None`,
    or a list of such dataclasses. `tenant` is the parameter that names the tenant. `sets_tenant`: the
    function sets the tenant itself; the setting ends with the statement, or with the scope around it.

    A call raises:
        TenantMismatchError: inside the scope of a tenant that isn't `tenant`; inside any scope, if the
            function finds out by itself which tenant to set.

    """
    is_bound = sets_tenant or tenant is not None

    def declare(declared: Declaration[Parameters, Result]) -> Declaration[Parameters, Result]:
        statement, result_of = _statement(declared)

        @wraps(declared)
        def call(*args: Parameters.args, **values: Parameters.kwargs) -> Result:
            scope, connection = current_tenant(), cast("Any", connections[current_alias()])
            if is_bound and scope is not None and values.get(tenant or "") != scope:
                raise TenantMismatchError
            rows = connection.fetch_rows(statement, values)
            if sets_tenant and scope is None and connection.in_atomic_block:
                set_tenant(connection, None)
            return cast("Result", result_of(rows))

        return call

    return declare


def _statement(declared: Callable[..., Any]) -> tuple[str, Callable[[list[Any]], Any]]:
    """The SQL of a call, and what makes the result of its rows."""
    name = declared.__name__
    arguments = ", ".join(f"{one} => %({one})s" for one in inspect.signature(declared).parameters)
    returned = get_type_hints(declared)["return"]
    is_list = get_origin(returned) is list
    row = next((one for one in (*get_args(returned), returned) if dataclasses.is_dataclass(one)), None)
    if row is None:
        return f"SELECT {name}({arguments})", lambda rows: rows[0][0]
    make = cast("Callable[..., Any]", row)
    columns = ", ".join(field.name for field in dataclasses.fields(row))
    statement = f"SELECT {columns} FROM {name}({arguments})"
    if is_list:
        return statement, lambda rows: [make(*one) for one in rows]
    return statement, lambda rows: make(*rows[0]) if rows else None
