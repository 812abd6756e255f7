from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.services.api_keys import create_api_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Make an API key for a resource server; it is printed once and can't be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        key = create_api_key(options["name"])
        if key is None:
            message = f"there is an API key named {options['name']}"
            raise CommandError(message)
        self.stdout.write(key)
