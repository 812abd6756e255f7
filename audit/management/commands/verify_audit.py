import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.sealing.chain import Statement
from audit.sealing.verifier import Exported, Verification
from tenancy.commands import OperatorCommand

SHOWN = 20  # findings, before the search ends
LATE = 600  # seconds; sealing takes less than two minutes
EVERY = 5  # seconds, between lines about the progress


class Command(OperatorCommand):
    help = (
        "Recompute the audit book from its first row and hold it against its seals. Names what was changed, "
        "removed, put in or reordered, the first one first, and exits 1. Runs while the service writes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--against", metavar="FILE", help="seals that export_seals printed, kept elsewhere"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = self.told = time.monotonic()
        exported = _exported(options["against"]) if options["against"] else ()
        check = Verification(exported, self._progress)
        found = 0
        for finding in check.findings():
            self.stdout.write(self.style.ERROR(f"BROKEN  {finding}"))
            found += 1
            if found == SHOWN:
                break
        if found:
            more = ", and there may be more" if found == SHOWN else ""
            raise CommandError(f"the book is not as it was sealed: {found} findings{more}")
        self._summarise(check)

    def _progress(self, rows: int) -> None:
        if time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            self.stderr.write(f"{rows:,} rows …")

    def _summarise(self, check: Verification) -> None:
        seconds = time.monotonic() - self.began
        for said in check.dropped.values():
            self.stdout.write(f"{said.page} was let go on {said.sealed_at[:10]}, with {said.rows:,} rows.")
        self.stdout.write(
            f"{check.rows:,} rows under {check.seals:,} seals were verified in {seconds:.1f} s "
            f"({check.rows / seconds:,.0f} a second)."
        )
        if check.unsealed:
            age = time.time() - check.unsealed_since
            self.stdout.write(f"{check.unsealed:,} rows are not sealed yet, the oldest since {age:,.0f} s.")
            if age > LATE:
                self.stdout.write(
                    self.style.WARNING("That is long: no worker seals, or the end of the chain was cut off.")
                )
        self.stdout.write(self.style.SUCCESS("The book is as it was sealed."))


def _exported(path: str) -> Iterator[Exported]:
    """The seals of the file, in order.

    Raises:
        CommandError: the file can't be read.

    """
    number = 0
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for line in lines:
                seal = _read(line)
                if seal.number <= number:
                    raise CommandError(f"{path}: seal {seal.number} comes after seal {number}")
                number = seal.number
                yield seal
        if not number:
            raise CommandError(f"{path}: there is no seal in it")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path}: what follows seal {number} is not what export_seals prints") from error


def _read(line: str) -> Exported:
    fields = json.loads(line)
    statement = Statement.of(fields["statement"])
    return Exported(statement.number, fields["statement"], bytes.fromhex(fields["signature"]))
