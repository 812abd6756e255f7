from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from tenancy.context import using_alias
from tenancy.routers import OWNER


class Command(migrate.Command):
    """Django's migrate, as the owner if OWNER_DATABASE_URL is set."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        if OWNER in settings.DATABASES:
            parser.set_defaults(database=OWNER)

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_other_history(options["database"])
        with using_alias(options["database"]):  # also for data migrations
            super().handle(*args, **options)


def _refuse_other_history(alias: str) -> None:
    """A pending migration before an applied one that is unknown: migrating would fail midway."""
    loader = MigrationLoader(connections[alias])
    known, applied = set(loader.disk_migrations), set(loader.applied_migrations)
    for app, unknown in sorted(applied - known):
        if any(label == app and name < unknown for label, name in known - applied):
            message = (
                f"the database was made by another version, which has {app}.{unknown}: it can't be upgraded"
            )
            raise CommandError(message)
