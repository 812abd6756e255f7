"""What must be done now and then, by the worker or by hand (`prune_expired`)."""

from datetime import timedelta

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

MONTHS_AHEAD = 3  # of audit partitions
KEEP_JOBS = timedelta(days=7)
KEEP_NOTICES = timedelta(days=7)  # that have been sent
KEEP_REFUSALS = timedelta(days=90)
KEEP_STRANGERS = timedelta(days=30)  # the personal data beside events that belong to no account
GIVE_UP_AFTER = timedelta(days=3)  # on a job that fails; until then its link may still go out


def run_maintenance() -> None:
    """Limits, keys, partitions and what has expired; each step does nothing where nothing is due."""
    lockout.keep_limits()
    signing_keys.ensure_signing_key()
    audit_ensure_partitions(months=MONTHS_AHEAD)
    prune_expired()


def prune_expired() -> dict[str, int]:
    """Delete what no one can use any more; table → rows deleted. Sessions take their tokens along."""
    now = timezone.now()
    unconfirmed = now - settings.EMAIL_VERIFICATION_TOKEN_LIFETIME - GIVE_UP_AFTER
    live_link = EmailVerificationToken.objects.filter(creator_id=OuterRef("pk"), expires_at__gte=now)
    doomed: list[QuerySet] = [
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
            ~Exists(live_link), holds_email=False, is_staff=False, created_at__lt=unconfirmed
        ),
        PersonalData.objects.filter(creator_id=NO_TENANT, id__lt=lowest_id(now - KEEP_STRANGERS)),
        DBTaskResult.objects.finished().filter(finished_at__lt=now - KEEP_JOBS),
    ]
    pruned = {query.model._meta.db_table: query._raw_delete(query.db) for query in doomed}
    return pruned | {"signing_keys": signing_keys.prune_signing_keys(now)}
