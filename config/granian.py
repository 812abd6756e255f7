"""The WSGI server's command line, with workers that can be stopped while they still load.

Granian forks its workers with its own signal handlers in place. One asked to stop before it has
put up others forgets the request, serves on, and is killed only when its grace is over.
"""

import os
import signal

from granian.cli import entrypoint


def forget_the_masters_handlers() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    os.register_at_fork(after_in_child=forget_the_masters_handlers)
    entrypoint()  # type: ignore[no-untyped-call]
