from typing import Any

from accounts.jobs.maintenance import prune_expired
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Delete expired sessions and tokens, unconfirmed sign-ups, finished jobs and expired keys."

    def handle(self, *args: Any, **options: Any) -> None:
        for table, rows in prune_expired().items():
            self.stdout.write(f"{table}: {rows}")
