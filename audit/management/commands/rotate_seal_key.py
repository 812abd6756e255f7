from typing import Any

from django.core.management.base import CommandError
from django.db import IntegrityError

from audit.exceptions import SealingError
from audit.sealing.sealer import rotate_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Sign the seals of the audit log with a new key. Existing seals stay valid."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            key = rotate_key()
        except IntegrityError as error:
            raise CommandError("a worker has just written a seal; try again") from error
        except SealingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{key} signs the seals from now on.")
