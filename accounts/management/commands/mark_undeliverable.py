from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email

from accounts.addresses import canonical_email
from accounts.services import refusals
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Mark the account that holds ADDRESS, to which mail comes back. The owner is told at sign-in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address")
        parser.add_argument(
            "--reason", default="", help="for example the words of the report; the owner reads it"
        )

    def handle(self, *args: Any, address: str, reason: str, **options: Any) -> None:
        email = canonical_email(address)
        try:
            validate_email(email)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if refusals.mark_undeliverable(email, reason=reason):
            self.stdout.write("Marked.")
        elif refusals.holds(email):
            self.stdout.write("It was marked before.")
        else:
            self.stdout.write("No account holds this address.")
