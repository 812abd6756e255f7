from argparse import ArgumentTypeError
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.core.management.base import CommandError

from accounts.management.arguments import address
from tenancy.commands import OperatorCommand


class Command(OperatorCommand, changepassword.Command):
    """Django's command, as the operator role."""

    def handle(self, *args: Any, username: str | None, **options: Any) -> str | None:
        try:
            stored = address(username) if username else None
        except ArgumentTypeError as error:
            raise CommandError(str(error)) from error
        return changepassword.Command.handle(self, *args, username=stored, **options)
