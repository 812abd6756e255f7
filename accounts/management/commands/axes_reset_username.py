from axes.management.commands import axes_reset_username

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset_username.Command):  # type: ignore[misc]
    """The axes command, as the operator."""
