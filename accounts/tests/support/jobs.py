"""The job queue."""

from datetime import timedelta

import psycopg


def job_states(superuser: psycopg.Connection) -> list[tuple[str, int]]:
    """(status, number of attempts) of each job, oldest first."""
    return superuser.execute(
        "SELECT status, jsonb_array_length(worker_ids) FROM django_tasks_database_dbtaskresult "
        "ORDER BY enqueued_at"
    ).fetchall()


def age_jobs(superuser: psycopg.Connection, **span: float) -> None:
    """Move the times of all jobs into the past."""
    superuser.execute(
        "UPDATE django_tasks_database_dbtaskresult SET enqueued_at = enqueued_at - %(by)s, "
        "started_at = started_at - %(by)s, "
        "run_after = CASE WHEN run_after < '9000-01-01' THEN run_after - %(by)s ELSE run_after END",
        {"by": timedelta(**span)},
    )
