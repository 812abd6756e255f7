from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.services.api_keys import revoke_api_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Revoke an API key, effective with the next request."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        if not revoke_api_key(options["name"]):
            message = f"no active API key is named {options['name']}"
            raise CommandError(message)
