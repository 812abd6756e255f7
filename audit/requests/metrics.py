"""The service's Prometheus metrics. Labels contain no personal data and have few values.

With PROMETHEUS_MULTIPROC_DIR, which the launcher sets, each process writes its values to files there, and a
scrape adds them up. Counters reset when the service starts.
"""

import os
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from audit.events import Event

RESERVED_BYTES = 2**18  # twice what a process needs per file
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _reserve_files() -> None:
    """prometheus_client maps sparse files; if the disk is full, a write to one kills the process (SIGBUS)."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for kind in ("counter", "histogram", "gauge_mostrecent") if directory else ():
        with Path(f"{directory}/{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)


if hasattr(os, "posix_fallocate"):  # not on macOS
    _reserve_files()

REQUESTS = Counter("auth_requests", "Requests by method, route and status.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "auth_request_seconds", "Response time by route.", ["route"], buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 10)
)
EVENTS = Counter("auth_events", "Events written to the audit log.", ["type"])
HASHING_SECONDS = Histogram(
    "auth_hashing_seconds", "Duration of a password hash.", buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
)
BREACH_CHECKS = Counter("auth_breach_checks", "Requests to HaveIBeenPwned.", ["outcome"])
MAILS = Counter("auth_mails", "Emails sent to the mail server.", ["kind", "outcome"])
DATABASE_ERRORS = Counter("auth_database_errors", "Database errors of requests and jobs.", ["error"])
QUEUE_SECONDS = Gauge(
    "auth_queue_oldest_seconds", "How long the oldest due job has waited.", multiprocess_mode="mostrecent"
)
WORKER_SEEN = Gauge(
    "auth_worker_seen_timestamp_seconds", "When the worker last ran.", multiprocess_mode="mostrecent"
)
UNSEALED_SECONDS = Gauge(
    "auth_audit_unsealed_seconds", "Age of the oldest unsealed event.", multiprocess_mode="mostrecent"
)

for _event in Event:  # a rate needs a first value of 0
    EVENTS.labels(_event.value)


def known_method(method: str) -> str:
    """Clients may send any word as the method (RFC 9110 § 9.1); a label must have few values."""
    return method if method in METHODS else "other"


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    route = "none" if route is None else f"/{route}"
    REQUESTS.labels(known_method(method), route, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)


def exposition() -> bytes:
    """The metrics of all processes in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
