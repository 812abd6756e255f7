from typing import Any

from django.core.management.base import CommandParser

from accounts.mail import refusals
from accounts.management.arguments import address as stored_address
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Mark the account that holds ADDRESS, to which mail comes back. The owner is told at sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", type=stored_address)
        parser.add_argument(
            "--reason", default="", help="for example the words of the report; the owner reads it"
        )

    def handle(self, *args: Any, address: str, reason: str, **options: Any) -> None:
        if refusals.mark_undeliverable(address, reason=reason):
            self.stdout.write("Marked.")
        elif refusals.has_account(address):
            self.stdout.write("It was marked before.")
        else:
            self.stdout.write("No account holds this address.")
