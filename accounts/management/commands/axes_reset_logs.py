from axes.management.commands import axes_reset_logs

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset_logs.Command):  # type: ignore[misc]
    """The axes command, as the operator."""
