from axes.management.commands import axes_list_attempts

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_list_attempts.Command):  # type: ignore[misc]
    """The axes command, as the operator."""
