from collections.abc import Iterable
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, OperationalError

from tenancy.checks.catalog import catalog_findings
from tenancy.checks.privileges import privilege_findings
from tenancy.checks.probe import TableReport, probe
from tenancy.checks.schema import role_findings, table_findings, version_findings


class Command(BaseCommand):
    help = (
        "Check tenant isolation on the live database, as the role that serves requests: RLS, policies and "
        "grants are as declared, and attempts to reach another tenant's rows fail. All attempts are rolled "
        "back. Exits 1 and prints each failure."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            findings = self._check_declarations() + self._check_privileges() + self._probe_tables()
        except OperationalError as error:
            raise CommandError(str(error).strip()) from error
        if findings:
            raise CommandError(f"Tenants are not isolated (findings: {findings}).")
        self.stdout.write(self.style.SUCCESS("Tenants are isolated."))

    def _check_declarations(self) -> int:
        checks = (version_findings, role_findings, table_findings, catalog_findings)
        findings = chain.from_iterable(check(DEFAULT_DB_ALIAS) for check in checks)
        return self._print(findings, "roles, tables, policies, grants and functions are as declared")

    def _check_privileges(self) -> int:
        return self._print(privilege_findings(DEFAULT_DB_ALIAS), "forbidden actions are refused")

    def _probe_tables(self) -> int:
        return sum(self._print(report.findings(), _summary(report)) for report in probe(DEFAULT_DB_ALIAS))

    def _print(self, findings: Iterable[str], success: str) -> int:
        lines = [self.style.ERROR(f"FAIL  {finding}") for finding in findings]
        self.stdout.write("\n".join(lines) or f"ok    {success}")
        return len(lines)


def _summary(report: TableReport) -> str:
    verbs = ", ".join(dict.fromkeys(report.blocked))
    return f"table {report.table}: {len(report.blocked)} attempts blocked ({verbs})"
