from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from .context import OPERATOR, using_alias


class OperatorCommand(BaseCommand):
    """A command that needs all tenants' rows. As the app role it would see none and report success."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        if OPERATOR not in settings.DATABASES:
            message = "this command needs the operator role: set OPERATOR_DATABASE_URL"
            raise CommandError(message)
        if "database" in options:
            options["database"] = OPERATOR
        with using_alias(OPERATOR):
            return super().execute(*args, **options)
