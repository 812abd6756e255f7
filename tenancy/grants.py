"""Grants on tables of third-party apps, whose models cannot declare them."""

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import connections
from django.db.models import Model

from .constraints import role_name

MIGRATIONS = "django_migrations"  # the readiness check reads it


def granted_tables() -> dict[tuple[str, str], list[str]]:
    """(logical role, table) → privileges, from `settings.TENANT_GRANTS`: {role: {label: privileges}}.

    A label names an app, for all its tables ("sessions"), or a model ("django_tasks_database.dbtaskresult").
    """
    granted = {(role, MIGRATIONS): ["SELECT"] for role in ("app", "operator")}
    for role, grants in settings.TENANT_GRANTS.items():
        for label, privileges in grants.items():
            for model in _models(label):
                granted[role, model._meta.db_table] = list(privileges)
    return granted


def _models(label: str) -> list[type[Model]]:
    if "." in label:
        return [apps.get_model(label)]
    models = list(apps.get_app_config(label).get_models(include_auto_created=True))
    return [model for model in models if model._meta.managed and not model._meta.proxy]


def apply_grants(app_config: AppConfig, using: str, **kwargs: Any) -> None:
    """Grant the privileges on the app's tables; runs after each migrate, as the owner."""
    app_tables = {model._meta.db_table for model in app_config.get_models(include_auto_created=True)}
    connection = connections[using]
    with connection.cursor() as cursor:
        tables = (app_tables | {MIGRATIONS}) & set(connection.introspection.table_names(cursor))
        for (role, table), privileges in granted_tables().items():
            if table not in tables:
                continue
            grantee = connection.ops.quote_name(role_name(role))
            cursor.execute(
                f"GRANT {', '.join(privileges)} ON {connection.ops.quote_name(table)} TO {grantee}"
            )
