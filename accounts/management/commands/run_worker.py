import os
import signal
import socket
from typing import Any

from accounts.jobs.worker import Worker
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Deliver queued emails and run maintenance until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        worker = Worker(f"{socket.gethostname()[:40]}-{os.getpid()}")
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, worker.stop)
        worker.run()
