from axes.management.commands import axes_reset_username
from django.core.management.base import CommandParser

from accounts.management.arguments import address
from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset_username.Command):  # type: ignore[misc]
    """Axes' command, as the operator role."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="+", type=address)
