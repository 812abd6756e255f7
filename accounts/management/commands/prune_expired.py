from typing import Any

from accounts.jobs.maintenance import prune_expired
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Delete expired sessions, tokens, unconfirmed sign-ups, finished jobs and dead keys."

    def handle(self, *args: Any, **options: Any) -> None:
        for table, rows in prune_expired().items():
            self.stdout.write(f"{table}: {rows}")
