from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.core.management.base import CommandError
from django.db import IntegrityError

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, createsuperuser.Command):
    """Django's command, as the operator role."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            createsuperuser.Command.handle(self, *args, **options)
        except IntegrityError as error:
            message = "an account with this email address already exists"
            raise CommandError(message) from error
