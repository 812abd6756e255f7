"""What Prometheus may know. No label names a person, and each has few values.

Several processes serve: with PROMETHEUS_MULTIPROC_DIR (the launcher sets it) each keeps its numbers
in a file there, and whoever is asked adds them all up. Numbers begin anew when the service starts.
"""

import os
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from audit.events import Event

RESERVED_BYTES = 2**18  # a process fills half of one at most
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _reserve_files() -> None:
    """Prometheus maps sparse files, and a page that a full disk can't give kills the process (SIGBUS)."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for kind in ("counter", "histogram", "gauge_mostrecent") if directory else ():
        with Path(f"{directory}/{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)


if hasattr(os, "posix_fallocate"):  # macOS has none
    _reserve_files()

REQUESTS = Counter("auth_requests", "Answers by door.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "auth_request_seconds", "Time to answer.", ["route"], buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 10)
)
EVENTS = Counter("auth_events", "What was written into the audit book.", ["type"])
HASHING_SECONDS = Histogram(
    "auth_hashing_seconds", "Time of one password hash.", buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
)
BREACH_CHECKS = Counter("auth_breach_checks", "Questions to HaveIBeenPwned.", ["outcome"])
MAILS = Counter("auth_mails", "Mails handed to the mail server.", ["kind", "outcome"])
DATABASE_ERRORS = Counter("auth_database_errors", "Requests and jobs that the database failed.", ["error"])
QUEUE_SECONDS = Gauge(
    "auth_queue_oldest_seconds", "How long the oldest due job waits.", multiprocess_mode="mostrecent"
)
WORKER_SEEN = Gauge(
    "auth_worker_seen_timestamp_seconds", "When the worker last looked.", multiprocess_mode="mostrecent"
)
UNSEALED_SECONDS = Gauge(
    "auth_audit_unsealed_seconds",
    "How long the oldest event of the book waits for its seal.",
    multiprocess_mode="mostrecent",
)

for _event in Event:  # an alert on a rate wants a zero to start from
    EVENTS.labels(_event.value)


def known_method(method: str) -> str:
    """A method is any word that a client chooses (RFC 9110 § 9.1)."""
    return method if method in METHODS else "other"


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    route = "none" if route is None else f"/{route}"
    REQUESTS.labels(known_method(method), route, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)


def exposition() -> bytes:
    """All numbers of all processes, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
