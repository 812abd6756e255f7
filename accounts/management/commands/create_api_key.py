from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.services.api_keys import create_api_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Create an API key for a resource server. It is printed once and can't be read later."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        key = create_api_key(options["name"])
        if key is None:
            message = f"an API key named {options['name']} already exists"
            raise CommandError(message)
        self.stdout.write(key)
