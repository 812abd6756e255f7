"""The worker process: runs queued jobs and maintenance.

The queue is django-tasks' table. Its own worker has no retries, never resumes the jobs of a killed worker and
keeps arguments (addresses) forever. This worker retries failed jobs with a growing delay, requeues the jobs
of killed workers and erases the arguments of finished jobs.
"""

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections, connections, transaction
from django.db.models import Case, Min, When
from django.db.models.functions import Greatest
from django.utils import timezone
from django_tasks import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from audit import retention
from audit.exceptions import SealingError
from audit.requests import metrics
from audit.sealing import sealer
from tenancy.context import current_alias

from . import maintenance

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.5  # if the queue is empty
MAINTENANCE_INTERVAL = timedelta(seconds=30)
SEALING_INTERVAL = timedelta(minutes=1)
GAUGE_INTERVAL = timedelta(seconds=5)
LEASE = timedelta(minutes=2)  # no job runs as long (smtp.SESSION_SECONDS)
FIRST_RETRY_DELAY = timedelta(seconds=5)
MAX_RETRY_DELAY = timedelta(minutes=15)
ERASED: dict[str, Any] = {"args": [], "kwargs": {}}


class Worker:
    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.stopping = threading.Event()
        self._maintenance_due = self._gauges_due = self._seal_due = timezone.now()

    def stop(self, *args: Any) -> None:
        """Return from `run` after the current job; also a signal handler."""
        self.stopping.set()

    def run(self) -> None:
        while not self.stopping.is_set():
            if not self._run_iteration():
                self.stopping.wait(POLL_SECONDS)

    def _run_iteration(self) -> bool:
        """Do what is due; returns whether a job was run. Errors are logged, and the worker continues."""
        close_old_connections()
        try:
            self._update_gauges()
            self._run_maintenance()
            self._seal_audit_log()
            return self.run_one()
        except (OperationalError, InterfaceError) as error:
            metrics.DATABASE_ERRORS.labels(type(error).__name__).inc()
            logger.warning("database unavailable", extra={"error": type(error).__name__})
            connections[current_alias()].close()
        except Exception as error:
            logger.exception("worker iteration failed", extra={"error": type(error).__name__})
        return False

    def run_one(self) -> bool:
        """Run the next job that is due; False if there is none."""
        job = self.claim()
        if job is None:
            return False
        try:
            result = job.task_result
            job.task.call(*result.args, **result.kwargs)
        except (OperationalError, InterfaceError):
            raise  # the job is requeued when its lease ends
        except Exception as error:  # noqa: BLE001  one bad job must not stop the others
            _retry(job, error)
        else:
            _close(job, TaskResultStatus.SUCCESSFUL)
        return True

    def claim(self) -> DBTaskResult | None:
        """Take the next job that is due. A job that can't be claimed fails."""
        with transaction.atomic(using=current_alias()):
            job = DBTaskResult.objects.ready().get_locked()
            if job is None:
                return None
            if not isinstance(job.worker_ids, list):  # claim() would fail
                _close(job, TaskResultStatus.FAILED)
                return None
            job.claim(self.worker_id)
        return job

    def _update_gauges(self) -> None:
        now = timezone.now()
        if now < self._gauges_due:
            return
        self._gauges_due = now + GAUGE_INTERVAL
        metrics.QUEUE_SECONDS.set(oldest_wait(now).total_seconds())
        metrics.UNSEALED_SECONDS.set(sealer.waiting_seconds())
        metrics.WORKER_SEEN.set(now.timestamp())

    def _run_maintenance(self) -> None:
        if timezone.now() < self._maintenance_due:
            return
        self._maintenance_due = timezone.now() + MAINTENANCE_INTERVAL
        requeue_stale_jobs()
        maintenance.run_maintenance()

    def _seal_audit_log(self) -> None:
        """Seal one round of new rows and drop expired partitions; jobs never wait longer than that."""
        if timezone.now() < self._seal_due:
            return
        self._seal_due = timezone.now() + SEALING_INTERVAL
        try:
            if sealer.seal_new_rows() >= sealer.MAX_ROWS_PER_CALL:
                self._seal_due = timezone.now()
            retention.drop_expired_partitions()
        except SealingError as error:
            logger.error("nothing is sealed", extra={"reason": str(error)})  # noqa: TRY400


def oldest_wait(now: datetime) -> timedelta:
    """How long the oldest job that is due has been waiting."""
    # django-tasks stores a year 9999 in `run_after` of jobs that have none
    scheduled = When(run_after__lte=now, then=Greatest("enqueued_at", "run_after"))
    ready = DBTaskResult.objects.ready().annotate(due=Case(scheduled, default="enqueued_at"))
    oldest: datetime | None = ready.aggregate(oldest=Min("due"))["oldest"]
    return now - oldest if oldest else timedelta(0)


def requeue_stale_jobs() -> int:
    """Requeue the jobs of killed workers: those that run longer than the lease."""
    stale = DBTaskResult.objects.running().filter(started_at__lt=timezone.now() - LEASE)
    return stale.update(status=TaskResultStatus.READY, run_after=timezone.now())


def _retry(job: DBTaskResult, error: Exception) -> None:
    """Requeue the job with twice the previous delay, or fail it after JOB_RETRY_PERIOD.

    The log has only the type of the error: its text may contain an address.
    """
    attempts = len(job.worker_ids)
    logger.warning(
        "job failed", extra={"job": str(job.id), "attempts": attempts, "error": type(error).__name__}
    )
    if timezone.now() - job.enqueued_at > maintenance.JOB_RETRY_PERIOD:
        _close(job, TaskResultStatus.FAILED)
        return
    delay = min(FIRST_RETRY_DELAY * 2 ** min(attempts - 1, 20), MAX_RETRY_DELAY)
    DBTaskResult.objects.filter(pk=job.pk).update(
        status=TaskResultStatus.READY, run_after=timezone.now() + delay, exception_class_path=_path(error)
    )


def _close(job: DBTaskResult, status: TaskResultStatus) -> None:
    DBTaskResult.objects.filter(pk=job.pk).update(
        status=status, finished_at=timezone.now(), args_kwargs=ERASED, return_value=None, traceback=""
    )


def _path(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
