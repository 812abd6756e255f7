from typing import Any

from audit.sealing import rotate_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Sign the seals of the audit book with a new key; what the old ones signed stays valid."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{rotate_key()} signs the seals from now on.")
