import json
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.smoke.accounts import SmokeAccounts
from accounts.smoke.checks import SmokeTest
from accounts.smoke.client import CheckFailed, Service
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Validate a live service: walk every door, its security features and its database, print one line a "
        "check, remove what was made. Runs with the service's settings, also against production; waits out "
        "the rate limits, which takes a few minutes. Exits 1 on any failure."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base-url", default=settings.PUBLIC_URL, help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        cast, service = SmokeAccounts(), Service(options["base_url"])
        try:
            results = [
                self._result(name, check, quiet=options["json"])
                for name, check in SmokeTest(service, cast).checks()
            ]
        finally:
            cast.leave()
            service.close()
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
        except Exception as error:  # noqa: BLE001  the other checks still have something to say
            fault = f"{type(error).__name__}: {error}".splitlines()[0]
        seconds = round(time.monotonic() - started, 1)
        if not quiet:
            line = self.style.ERROR(f"FAIL  {name}: {fault}") if fault else f"ok    {name} ({seconds} s)"
            self.stdout.write(line)
            self.stdout.flush()
        return {"check": name, "ok": not fault, "fault": fault, "seconds": seconds}
