import json
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.smoke.accounts import SmokeAccounts
from accounts.smoke.checks import SmokeTest
from accounts.smoke.client import CheckFailed, Client
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Check a live service: every endpoint, the security features and the database. Prints one line per "
        "check and deletes its own accounts. Needs the service's settings; safe in production. Takes a few "
        "minutes because it waits for rate limits. Exits 1 if a check fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base-url", default=settings.PUBLIC_URL, help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        accounts, client = SmokeAccounts(), Client(options["base_url"])
        try:
            results = [
                self._result(name, check, quiet=options["json"])
                for name, check in SmokeTest(client, accounts).checks()
            ]
        finally:
            accounts.delete()
            client.close()
        failed = [result for result in results if not result["ok"]]
        if options["json"]:
            self.stdout.write(json.dumps({"ok": not failed, "checks": results}))
        if failed:
            raise CommandError(f"{len(failed)} of {len(results)} checks failed")

    def _result(self, name: str, check: Callable[[], object], *, quiet: bool) -> dict[str, Any]:
        started, fault = time.monotonic(), ""
        try:
            check()
        except CheckFailed as error:
            fault = str(error)
        except Exception as error:  # noqa: BLE001  run the remaining checks
            fault = f"{type(error).__name__}: {error}".splitlines()[0]
        seconds = round(time.monotonic() - started, 1)
        if not quiet:
            line = self.style.ERROR(f"FAIL  {name}: {fault}") if fault else f"ok    {name} ({seconds} s)"
            self.stdout.write(line)
            self.stdout.flush()
        return {"check": name, "ok": not fault, "fault": fault, "seconds": seconds}
