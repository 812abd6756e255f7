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
        "Prove tenant isolation against the live database, as the role that serves requests: every tenant "
        "table is walled as declared, and another tenant's and nobody's attempts on it fail. Leaves nothing "
        "behind; exits 1 and says what is open."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            faults = self._declarations() + self._powers() + self._probes()
        except OperationalError as error:
            raise CommandError(str(error).strip()) from error
        if faults:
            raise CommandError(f"{faults} {'fault' if faults == 1 else 'faults'}: the walls do not hold")
        self.stdout.write(self.style.SUCCESS("Tenants are isolated."))

    def _declarations(self) -> int:
        sources = (version_findings, role_findings, table_findings, catalog_findings)
        findings = list(chain.from_iterable(source(DEFAULT_DB_ALIAS) for source in sources))
        for finding in findings:
            self.stdout.write(self.style.ERROR(f"OPEN  {finding}"))
        if not findings:
            self.stdout.write("ok    roles, tables, policies, grants and functions are as declared")
        return len(findings)

    def _powers(self) -> int:
        findings = list(privilege_findings(DEFAULT_DB_ALIAS))
        for finding in findings:
            self.stdout.write(self.style.ERROR(f"OPEN  {finding}"))
        if not findings:
            self.stdout.write("ok    what no tenant may do is refused")
        return len(findings)

    def _probes(self) -> int:
        reports = probe(DEFAULT_DB_ALIAS)
        for report in reports:
            self._show(report)
        return sum(bool(report.open or report.unproven) for report in reports)

    def _show(self, report: TableReport) -> None:
        table = f"table {report.table}"
        if report.open:
            self.stdout.write(self.style.ERROR(f"OPEN  {table}: {', '.join(dict.fromkeys(report.open))}"))
        if report.unproven:
            self.stdout.write(self.style.ERROR(f"OPEN  {table}: not proven: {'; '.join(report.unproven)}"))
        if not (report.open or report.unproven):
            verbs = dict.fromkeys(attempt.split(" as ")[0].split(" with ")[0] for attempt in report.shut)
            tried = f"{len(report.shut)} attempts failed ({', '.join(verbs)})"
            self.stdout.write(f"ok    {table}: {tried}")
