import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.sealing.chain import Statement
from audit.sealing.verifier import ExportedSeal, Summary, verify
from tenancy.commands import OperatorCommand

MAX_FINDINGS = 20  # the command stops there
WARN_AFTER = 600  # seconds; sealing takes less than two minutes
WARNING = "That is long: no worker seals, or the end of the chain was cut off."
PROGRESS_INTERVAL = 5  # seconds


class Command(OperatorCommand):
    help = (
        "Recompute the audit log from its first row and compare it with its seals. Reports changed, removed, "
        "inserted or reordered rows in order, and exits 1 on any finding. Runs while the service writes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--against", metavar="FILE", help="seals printed by export_seals, stored on another machine"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.started = self.progress_shown = time.monotonic()
        exported = _exported_seals(options["against"]) if options["against"] else ()
        summary, findings = Summary(), 0
        for finding in verify(summary, exported, self._show_progress):
            self.stdout.write(self.style.ERROR(f"BROKEN  {finding}"))
            findings += 1
            if findings == MAX_FINDINGS:
                break
        if findings:
            more = ", and there may be more" if findings == MAX_FINDINGS else ""
            raise CommandError(f"the audit log does not match its seals: {findings} findings{more}")
        self._show(summary)

    def _show_progress(self, summary: Summary) -> None:
        if time.monotonic() - self.progress_shown > PROGRESS_INTERVAL:
            self.progress_shown = time.monotonic()
            self.stderr.write(f"{summary.rows:,} rows …")

    def _show(self, summary: Summary) -> None:
        seconds = time.monotonic() - self.started
        for partition in summary.dropped:
            dropped = partition.statement
            self.stdout.write(
                f"{dropped.partition} was dropped on {dropped.sealed_at[:10]}, with {dropped.rows:,} rows."
            )
        self.stdout.write(
            f"{summary.rows:,} rows under {summary.seals:,} seals were verified in {seconds:.1f} s "
            f"({summary.rows / seconds:,.0f} per second)."
        )
        if summary.unsealed:
            age = time.time() - summary.unsealed_since
            self.stdout.write(f"{summary.unsealed:,} rows are not sealed yet, the oldest for {age:,.0f} s.")
            if age > WARN_AFTER:
                self.stdout.write(self.style.WARNING(WARNING))
        self.stdout.write(self.style.SUCCESS("The audit log matches its seals."))


def _exported_seals(path: str) -> Iterator[ExportedSeal]:
    """The seals of the file, in order.

    Raises:
        CommandError: the file can't be read.

    """
    number = 0
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for line in lines:
                seal = _parse(line)
                if seal.number <= number:
                    raise CommandError(f"{path}: seal {seal.number} comes after seal {number}")
                number = seal.number
                yield seal
        if not number:
            raise CommandError(f"{path}: the file contains no seal")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path}: the line after seal {number} was not printed by export_seals"
        raise CommandError(message) from error


def _parse(line: str) -> ExportedSeal:
    fields = json.loads(line)
    statement = Statement.parse(fields["statement"])
    return ExportedSeal(statement.number, fields["statement"], bytes.fromhex(fields["signature"]))
