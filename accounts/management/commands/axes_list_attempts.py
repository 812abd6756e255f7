import sys
from typing import Any

from axes.management.commands import axes_list_attempts
from django.core.management.base import OutputWrapper

from audit.text import visible
from tenancy.commands import OperatorCommand


class VisibleOutput(OutputWrapper):
    """Escapes control characters of the addresses, which are untrusted input."""

    def write(self, msg: str = "", *more: Any, **named: Any) -> None:  # type: ignore[override]
        super().write(visible(msg, keep="\t\n"), *more, **named)


class Command(OperatorCommand, axes_list_attempts.Command):  # type: ignore[misc]
    """Axes' command, as the operator role."""

    def execute(self, *args: Any, **options: Any) -> Any:
        options["stdout"] = VisibleOutput(options.get("stdout") or sys.stdout)
        return super().execute(*args, **options)
