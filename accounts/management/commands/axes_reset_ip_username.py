from axes.management.commands import axes_reset_ip_username
from django.core.management.base import CommandParser

from accounts.management.arguments import address
from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset_ip_username.Command):  # type: ignore[misc]
    """The axes command, as the operator."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ip")
        parser.add_argument("username", type=address)
