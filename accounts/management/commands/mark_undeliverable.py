from typing import Any

from django.core.management.base import CommandParser

from accounts.mail import refusals
from accounts.management.arguments import address as stored_address
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Mark email to ADDRESS as undeliverable. The owner of the account sees it at the next sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", type=stored_address)
        parser.add_argument(
            "--reason", default="", help="for example the text of the bounce report; the owner can read it"
        )

    def handle(self, *args: Any, address: str, reason: str, **options: Any) -> None:
        if refusals.mark_undeliverable(address, reason=reason):
            self.stdout.write("Marked.")
        elif refusals.has_account(address):
            self.stdout.write("Already marked.")
        else:
            self.stdout.write("No account has this address.")
