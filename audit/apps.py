import logging

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        # our log format has none of these, and each takes time (Python's logging HOWTO, "Optimization")
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging._srcfile = None
