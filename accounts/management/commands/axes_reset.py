from axes.management.commands import axes_reset

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset.Command):  # type: ignore[misc]
    """Axes' command, as the operator role."""
