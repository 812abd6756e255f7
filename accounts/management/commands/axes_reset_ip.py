from axes.management.commands import axes_reset_ip

from tenancy.commands import OperatorCommand


class Command(OperatorCommand, axes_reset_ip.Command):  # type: ignore[misc]
    """The axes command, as the operator."""
