import logging

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        # no line of ours tells them, and each costs a look (Python's logging HOWTO, "Optimization")
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
        logging._srcfile = None
