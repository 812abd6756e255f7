from typing import Any

from django.core.management.base import CommandError

from audit.exceptions import SealingError
from audit.sealing.sealer import seal_new_rows
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Seal the new rows of the audit log now, instead of when the worker next does."

    def handle(self, *args: Any, **options: Any) -> None:
        total = 0
        try:
            while sealed := seal_new_rows():
                total += sealed
        except SealingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{total:,} rows were sealed.")
