"""Log filters: add the request id, remove secrets and personal data."""

import logging
from contextvars import ContextVar

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError

request_id: ContextVar[str] = ContextVar("request_id", default="")


class RequestFilter(logging.Filter):
    """Adds the request id; removes the request that Django attaches, and paths, which may contain tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        request = record.__dict__.pop("request", None)
        path = getattr(request, "path", None)
        if path and isinstance(record.args, tuple):
            route = getattr(getattr(request, "resolver_match", None), "route", "no route")
            record.args = tuple(route if argument == path else argument for argument in record.args)
        if record.name == "django.security.csrf" and isinstance(record.args, tuple):
            # what follows " - " is the Origin or Referer that the client sent
            record.args = tuple(str(argument).partition(" - ")[0] for argument in record.args)
        return True


class ExpectedErrorsFilter(logging.Filter):
    """One line without a traceback for an unavailable database and for suspicious requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OperationalError | InterfaceError):
            record.msg, record.args = f"{record.getMessage()} ({type(error).__name__})", ()
            record.exc_info = None
        if isinstance(error, SuspiciousOperation):  # its message contains input, such as the Host
            record.msg, record.args = f"refused ({type(error).__name__})", ()
            record.exc_info = None
        return True
