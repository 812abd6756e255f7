"""System checks. The checks of the live database run with `check --database default`."""

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
    messages: list[CheckMessage] = [
        Error(finding, hint="Upgrade the server.", id="tenancy.E001")
        for finding in version_findings(DEFAULT_DB_ALIAS)
    ]
    for finding in role_findings(DEFAULT_DB_ALIAS):
        if finding.endswith("owns tables"):
            hint = "Forced RLS still applies, but the app role should own no tables."
            messages.append(Warning(finding, hint=hint, id="tenancy.W001"))
        else:
            messages.append(Error(finding, hint="Run the SQL of `manage.py role_sql`.", id="tenancy.E002"))
    hint = "Run `manage.py migrate` as the owner, then `manage.py check_isolation`."
    findings = chain(table_findings(DEFAULT_DB_ALIAS), catalog_findings(DEFAULT_DB_ALIAS))
    return [*messages, *(Error(finding, hint=hint, id="tenancy.E003") for finding in findings)]


@register(Tags.security)
def check_atomic_requests(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """With ATOMIC_REQUESTS, DRF rolls back on every 4xx, which would discard audit events."""
    hint = "Remove ATOMIC_REQUESTS: tenancy.middleware.TenantMiddleware opens the transactions."
    return [
        Error(f"ATOMIC_REQUESTS is on for the database {alias!r}", hint=hint, id="tenancy.E004")
        for alias, database in settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS")
    ]
