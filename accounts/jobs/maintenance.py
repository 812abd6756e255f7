"""Periodic maintenance, run by the worker; `prune_expired` also by its command."""

from datetime import datetime, timedelta

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.sessions.models import Session as OperatorSession
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.models import (
    BlacklistedToken,
    Counter,
    Creator,
    EmailChange,
    EmailChangeToken,
    EmailVerificationToken,
    EndUserSession,
    LoginReservation,
    PasswordResetToken,
    RefusedMail,
    SecurityNotice,
    Session,
)
from accounts.services import lockout, signing_keys
from audit.models import PersonalData
from audit.partitions import lowest_id
from audit.recorder import NO_TENANT
from audit.sql import audit_ensure_partitions

MONTHS_AHEAD = 3  # of audit log partitions
KEEP_JOBS = timedelta(days=7)  # after they have finished
KEEP_NOTICES = timedelta(days=7)  # after they have been sent
KEEP_REFUSALS = timedelta(days=90)
KEEP_PERSONAL_DATA_WITHOUT_ACCOUNT = timedelta(days=30)
JOB_RETRY_PERIOD = timedelta(days=3)  # a failing job is retried for so long, so its link may be sent so late


def run_maintenance() -> None:
    """Update lockout limits, signing keys and partitions, then prune. Steps that are not due do nothing."""
    lockout.store_limits()
    signing_keys.ensure_signing_key()
    audit_ensure_partitions(months=MONTHS_AHEAD)
    prune_expired()


def prune_expired() -> dict[str, int]:
    """Delete what can't be used any more; returns table → deleted rows. The database cascades to tokens."""
    now = timezone.now()
    pruned = {rows.model._meta.db_table: rows._raw_delete(rows.db) for rows in _expired_rows(now)}
    return pruned | {"signing_keys": signing_keys.prune_signing_keys(now)}


def _expired_rows(now: datetime) -> list[QuerySet]:
    sign_up_deadline = now - settings.EMAIL_VERIFICATION_TOKEN_LIFETIME - JOB_RETRY_PERIOD
    live_link = EmailVerificationToken.objects.filter(creator_id=OuterRef("pk"), expires_at__gte=now)
    return [
        Session.objects.filter(expires_at__lt=now),
        BlacklistedToken.objects.filter(expires_at__lt=now),
        EmailVerificationToken.objects.filter(expires_at__lt=now),
        PasswordResetToken.objects.filter(expires_at__lt=now),
        EmailChangeToken.objects.filter(expires_at__lt=now),
        EmailChange.objects.filter(undo_expires_at__lt=now),
        SecurityNotice.objects.filter(sent_at__lt=now - KEEP_NOTICES),
        RefusedMail.objects.filter(at__lt=now - KEEP_REFUSALS),
        LoginReservation.objects.filter(expires_at__lt=now),
        AccessAttempt.objects.filter(attempt_time__lt=now - settings.ACCOUNT_LOCKOUT_DURATION),
        Counter.objects.filter(expires_at__lt=now),
        OperatorSession.objects.filter(expire_date__lt=now),
        EndUserSession.objects.filter(expires_at__lt=now),
        Creator.objects.filter(
            ~Exists(live_link), holds_email=False, is_staff=False, created_at__lt=sign_up_deadline
        ),
        PersonalData.objects.filter(
            creator_id=NO_TENANT, id__lt=lowest_id(now - KEEP_PERSONAL_DATA_WITHOUT_ACCOUNT)
        ),
        DBTaskResult.objects.finished().filter(finished_at__lt=now - KEEP_JOBS),
    ]
