from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.core.management.commands import migrate

from tenancy.context import using_alias
from tenancy.routers import OWNER


class Command(migrate.Command):
    """Django's migrate, as the owner if OWNER_DATABASE_URL is set."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        if OWNER in settings.DATABASES:
            parser.set_defaults(database=OWNER)

    def handle(self, *args: Any, **options: Any) -> None:
        with using_alias(options["database"]):  # also for data migrations
            super().handle(*args, **options)
