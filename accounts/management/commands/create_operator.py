import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.exceptions import WeakPasswordError
from accounts.management.arguments import address
from accounts.permissions import ROLES
from accounts.services.operators import accounts
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Create an operator who is not a superuser. Asks for the password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", type=address)
        parser.add_argument("--group", required=True, choices=sorted(ROLES))

    def handle(self, *args: Any, email: str, group: str, **options: Any) -> None:
        try:
            created = accounts.create_operator(email=email, password=_password(), role=group)
        except WeakPasswordError as error:
            raise CommandError(" ".join(sentence for _code, sentence in error.errors)) from error
        if not created:
            message = "an account with this email address already exists"
            raise CommandError(message)
        self.stdout.write("Created. The second factor is set up at the first sign-in.")


def _password() -> str:
    """Prompt twice on a terminal; otherwise read one line from standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Password (again): ") != password:
        message = "the two passwords are not the same"
        raise CommandError(message)
    return password
