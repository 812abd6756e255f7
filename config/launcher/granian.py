"""The server's command line, with workers that can be stopped while they still load.

Granian forks its workers with its own signal handlers in place. One asked to stop before it has
put up others forgets the request, serves on, and is killed only when its grace is over.

Requests come through `config.rsgi`, which sees the names of headers as they were sent.
"""

import os
import signal

from granian.cli import entrypoint
from granian.server import mp

from config import rsgi

# outside of the condition below: a worker that is spawned, as on macOS, imports this module anew
mp.WSGIWorker = rsgi.Worker  # type: ignore[assignment, attr-defined]
mp._new_cbscheduler = rsgi.Scheduler  # type: ignore[attr-defined]


def forget_the_masters_handlers() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    os.register_at_fork(after_in_child=forget_the_masters_handlers)
    entrypoint()  # type: ignore[no-untyped-call]
