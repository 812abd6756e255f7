"""Numbered system checks. Those of the live database run with `check --database default`."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.db import DEFAULT_DB_ALIAS

from .catalog import catalog_findings
from .schema import role_findings, table_findings, version_findings


@register(Tags.database)
def check_tenant_isolation(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    found: list[CheckMessage] = [
        Error(finding, hint="Upgrade the server.", id="tenancy.E001")
        for finding in version_findings(DEFAULT_DB_ALIAS)
    ]
    for finding in role_findings(DEFAULT_DB_ALIAS):
        if finding.endswith("owns tables"):
            hint = "FORCE still binds it to the rows of its tenant; give the service a role of its own."
            found.append(Warning(finding, hint=hint, id="tenancy.W001"))
        else:
            found.append(Error(finding, hint="Make the roles with `manage.py role_sql`.", id="tenancy.E002"))
    hint = "Run `manage.py migrate` as the owner; then see `manage.py check_isolation`."
    findings = chain(table_findings(DEFAULT_DB_ALIAS), catalog_findings(DEFAULT_DB_ALIAS))
    return [*found, *(Error(finding, hint=hint, id="tenancy.E003") for finding in findings)]


@register(Tags.security)
def check_atomic_requests(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """DRF rolls the request's transaction back on every refusal, and its records with it."""
    hint = "Remove ATOMIC_REQUESTS: scopes are opened by tenancy.middleware.TenantMiddleware."
    return [
        Error(f"ATOMIC_REQUESTS is on for the database {alias!r}", hint=hint, id="tenancy.E004")
        for alias, database in settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS")
    ]
