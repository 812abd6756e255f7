"""Granian's command line, with two of its behaviours changed.

- Granian forks its workers with the master's signal handlers in place. A worker that gets a SIGTERM before
  it has installed its own handlers ignores it, keeps serving, and is killed only after the grace period.
  The default handlers are restored in each forked worker.
- Granian's WSGI interface merges headers whose names differ only in `-` and `_`. Requests go through
  `config.rsgi`, which sees the names as they were sent.
"""

import os
import signal

from granian.cli import entrypoint
from granian.server import mp

from config import rsgi

# not under `if __name__`: a spawned worker (macOS) imports this module under another name
mp.WSGIWorker = rsgi.Worker  # type: ignore[assignment, attr-defined]
mp._new_cbscheduler = rsgi.Scheduler  # type: ignore[attr-defined]


def restore_default_handlers() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    os.register_at_fork(after_in_child=restore_default_handlers)
    entrypoint()  # type: ignore[no-untyped-call]
