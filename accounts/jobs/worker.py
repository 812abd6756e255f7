"""The worker beside the server: delivers queued mail and does the house's chores.

The queue is django-tasks' table; its own worker knows neither retries nor jobs whose worker was
killed, and keeps arguments (addresses) for ever. Here a failed job comes back later and later, a
lost one is taken up again, and what a finished one held is erased.
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
POLL = 0.5  # seconds between looks at an empty queue
MAINTENANCE_INTERVAL = timedelta(seconds=30)
SEALING_INTERVAL = timedelta(minutes=1)
GAUGE_INTERVAL = timedelta(seconds=5)  # for the metrics
LEASE = timedelta(minutes=2)  # far above what a mail takes (smtp.EXCHANGE_SECONDS)
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(minutes=15)
ERASED: dict[str, Any] = {"args": [], "kwargs": {}}


class Worker:
    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.stopping = threading.Event()
        self._maintenance_due = self._gauges_due = self._seal_due = timezone.now()

    def stop(self, *args: Any) -> None:
        """Finish the job at hand, then leave."""
        self.stopping.set()

    def run(self) -> None:
        while not self.stopping.is_set():
            close_old_connections()
            try:
                self._update_gauges()
                self._run_maintenance()
                self._seal_audit_log()
                busy = self.run_one()
            except (OperationalError, InterfaceError) as error:
                metrics.DATABASE_ERRORS.labels(type(error).__name__).inc()
                logger.warning("database unavailable", extra={"error": type(error).__name__})
                connections[current_alias()].close()
                busy = False
            except Exception as error:
                logger.exception("round failed", extra={"error": type(error).__name__})
                busy = False
            if not busy:
                self.stopping.wait(POLL)

    def run_one(self) -> bool:
        """Do the next job that is due; False where there is none."""
        job = self._claim()
        if job is None:
            return False
        try:
            result = job.task_result
            job.task.call(*result.args, **result.kwargs)
        except (OperationalError, InterfaceError):
            raise  # the lease brings it back
        except Exception as error:  # noqa: BLE001  one poisoned job must not stop the others
            _retry(job, error)
        else:
            _close(job, TaskResultStatus.SUCCESSFUL)
        return True

    def _claim(self) -> DBTaskResult | None:
        with transaction.atomic(using=current_alias()):
            job = DBTaskResult.objects.ready().get_locked()
            if job is not None and not isinstance(job.worker_ids, list):  # what claim() adds to
                _close(job, TaskResultStatus.FAILED)
                return None
            if job is not None:
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
        """Seal what is new, let old pages go; mails wait for no more than a round of it."""
        if timezone.now() < self._seal_due:
            return
        self._seal_due = timezone.now() + SEALING_INTERVAL
        try:
            if sealer.seal_new_rows() >= sealer.ROUND:
                self._seal_due = timezone.now()
            retention.drop_expired_partitions()
        except SealingError as error:
            logger.error("nothing is sealed", extra={"reason": str(error)})  # noqa: TRY400


def oldest_wait(now: datetime) -> timedelta:
    """How long the job that waits longest could have been done."""
    asked = When(run_after__lte=now, then=Greatest("enqueued_at", "run_after"))  # else: in the year 9999
    ready = DBTaskResult.objects.ready().annotate(due=Case(asked, default="enqueued_at"))
    oldest: datetime | None = ready.aggregate(oldest=Min("due"))["oldest"]
    return now - oldest if oldest else timedelta(0)


def requeue_stale_jobs() -> int:
    """Jobs whose worker is gone: nothing runs as long as the lease."""
    lost = DBTaskResult.objects.running().filter(started_at__lt=timezone.now() - LEASE)
    return lost.update(status=TaskResultStatus.READY, run_after=timezone.now())


def _retry(job: DBTaskResult, error: Exception) -> None:
    """Later, twice as late each time. The log names the failure, never the address or the words."""
    attempts = len(job.worker_ids)
    logger.warning(
        "job failed", extra={"job": str(job.id), "attempts": attempts, "error": type(error).__name__}
    )
    if timezone.now() - job.enqueued_at > maintenance.GIVE_UP_AFTER:
        _close(job, TaskResultStatus.FAILED)
        return
    delay = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), LONGEST_RETRY)
    DBTaskResult.objects.filter(pk=job.pk).update(
        status=TaskResultStatus.READY, run_after=timezone.now() + delay, exception_class_path=_path(error)
    )


def _close(job: DBTaskResult, status: TaskResultStatus) -> None:
    DBTaskResult.objects.filter(pk=job.pk).update(
        status=status, finished_at=timezone.now(), args_kwargs=ERASED, return_value=None, traceback=""
    )


def _path(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
