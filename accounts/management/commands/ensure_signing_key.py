from typing import Any

from accounts.services.signing_keys import ensure_signing_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Create the first signing key, or the next one if it is due."

    def handle(self, *args: Any, **options: Any) -> None:
        if ensure_signing_key():
            self.stdout.write("Created a new signing key.")
