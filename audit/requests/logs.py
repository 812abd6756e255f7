"""What a log line carries, and what it must not."""

import logging
from contextvars import ContextVar

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError

request_id: ContextVar[str] = ContextVar("request_id", default="")


class RequestFilter(logging.Filter):
    """Adds the request's id; takes away what Django attaches, and paths, which may hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        request = record.__dict__.pop("request", None)
        path = getattr(request, "path", None)
        if path and isinstance(record.args, tuple):
            route = getattr(getattr(request, "resolver_match", None), "route", "no route")
            record.args = tuple(route if argument == path else argument for argument in record.args)
        if record.name == "django.security.csrf" and isinstance(record.args, tuple):
            record.args = tuple(
                str(argument).partition(" - ")[0] for argument in record.args
            )  # then an origin
        return True


class ExpectedErrorsFilter(logging.Filter):
    """A database that is away and a client that lies are facts, not bugs: one line, no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OperationalError | InterfaceError):
            record.msg, record.args = f"{record.getMessage()} ({type(error).__name__})", ()
            record.exc_info = None
        if isinstance(error, SuspiciousOperation):  # its message has what the client sent, as a Host
            record.msg, record.args = f"refused ({type(error).__name__})", ()
            record.exc_info = None
        return True
