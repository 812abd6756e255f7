from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from .context import OPERATOR, using_alias


class OperatorCommand(BaseCommand):
    """A command that must see every tenant: under RLS it would see nothing and report success."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        if OPERATOR not in settings.DATABASES:
            message = "this command works as the operator role: set OPERATOR_DATABASE_URL"
            raise CommandError(message)
        if "database" in options:
            options["database"] = OPERATOR
        with using_alias(OPERATOR):
            return super().execute(*args, **options)
