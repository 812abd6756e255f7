"""Builds a valid row for any tenant table from the model's fields."""

import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import EmailField, Field, ForeignKey, Model
from django.utils import timezone

from tenancy.constraints import tenant_column

Row = dict[str, Any]  # column → value
Rows = Mapping[type[Model], Row]

_VALUES: dict[str, Callable[[], Any]] = {
    "BooleanField": lambda: False,
    "BinaryField": lambda: b"sample",
    "DateField": lambda: timezone.now().date(),
    "DateTimeField": timezone.now,
    "GenericIPAddressField": lambda: "192.0.2.1",  # RFC 5737: reserved for documentation
    "JSONField": dict,
    "PositiveIntegerField": lambda: secrets.randbelow(2**31),  # random, because it may be part of a key
    "UUIDField": uuid.uuid4,
}


def sample_row(model: type[Model], tenant: uuid.UUID | None, others: Rows) -> Row:
    """A new row of `tenant` that references the rows in `others`; nothing is written.

    Columns with a database default are left out. `tenant` is None if the table is not a tenant table.
    """
    fields = [field for field in model._meta.concrete_fields if not field.has_db_default()]
    row = {field.column: _value(field, others) for field in fields if field.column}
    return row | {tenant_column(model): tenant} if tenant else row


def adapted(model: type[Model], row: Row, connection: BaseDatabaseWrapper) -> list[Any]:
    """The values of `row` as the driver's parameters."""
    fields = {field.column: field for field in model._meta.concrete_fields}
    return [fields[column].get_db_prep_save(value, connection) for column, value in row.items()]


def references(model: type[Model], tenant_tables: list[type[Model]]) -> list[ForeignKey]:
    """Foreign keys to tenant tables, except the one to the tenant."""
    tenant = tenant_column(model)
    keys = [field for field in model._meta.concrete_fields if isinstance(field, ForeignKey)]
    return [key for key in keys if key.column != tenant and key.related_model in tenant_tables]


def _value(field: Field, others: Rows) -> Any:
    if isinstance(field, ForeignKey) and field.related_model in others:
        return others[field.related_model][str(field.target_field.column)]
    if field.null:
        return None
    if isinstance(field, ForeignKey):
        return _value(field.target_field, others)
    if field.has_default():
        return field.get_default()
    if field.choices:
        return field.flatchoices[0][0]
    kind = field.get_internal_type()
    return _VALUES[kind]() if kind in _VALUES else _text_or_number(field)


def _text_or_number(field: Field) -> Any:
    if "Char" in field.get_internal_type() or "Text" in field.get_internal_type():
        text = f"sample-{uuid.uuid4().hex}" + "@example.invalid" * isinstance(field, EmailField)
        return text[: field.max_length or None]
    return 0
