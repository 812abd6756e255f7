"""What operators do to an account. Each wants a reason given before, and both books tell of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import translation

from accounts import tasks
from accounts.exceptions import AddressTakenError, CreatorNotFoundError, RateLimitedError
from accounts.models import Creator, EndUserSession, SecurityNotice, Session
from accounts.ratelimits import limits
from accounts.services import account_deletion, email_verification, lockout, notices, sessions
from audit.events import Event
from audit.requests.client_info import ClientInfo
from tenancy.context import current_alias

from . import justification

Kind = SecurityNotice.Kind
Facts = dict[str, Any]


@dataclass(frozen=True)
class SupportAction:
    """`do` returns what the books should tell; None where there was nothing to do."""

    event: Event
    applies: Callable[[Creator], bool]
    do: Callable[[Creator, ClientInfo], Facts]
    notice: Kind | None = None


def perform(name: str, *, creator_id: UUID, operator_id: UUID, client: ClientInfo) -> bool:
    """Do the act of that name in SUPPORT_ACTIONS; False where there is nothing to do.

    Raises:
        JustificationRequiredError: the operator has not said why within the hour.
        CreatorNotFoundError: there is none of this id; staff are none.
        AddressTakenError: another account has confirmed the address that was to be marked.
        RateLimitedError: the address has had enough mails.

    """
    act = SUPPORT_ACTIONS[name]
    reason = justification.current_justification(creator_id=creator_id, operator_id=operator_id)
    # the language of the request is the operator's; the creator's is not known
    with translation.override(settings.LANGUAGE_CODE), transaction.atomic(using=current_alias()):
        creator = Creator.objects.tenants().select_for_update(no_key=True).filter(pk=creator_id).first()
        if creator is None:
            raise CreatorNotFoundError
        if not act.applies(creator):
            return False
        facts = act.do(creator, client) | {"reason": reason}
        Creator.objects.end_links(creator.pk)
        if act.notice and creator.holds_email:  # or the address may be a stranger's
            notices.add(act.notice, creator_id=creator_id, client=ClientInfo())
        justification.record_operator_action(
            act.event, creator_id=creator_id, operator_id=operator_id, client=client, **facts
        )
    return True


def _has_count(creator: Creator) -> bool:
    return creator.holds_email and bool(lockout.failure_counts(creator.email))


def _unlock(creator: Creator, client: ClientInfo) -> Facts:
    for scope in lockout.LoginScope:
        lockout.unlock(creator.email, scope)
    return {}


def _end_sessions(creator: Creator, client: ClientInfo) -> Facts:
    return {"count": sessions.end_sessions(creator_id=creator.pk, reason=Session.End.SUPPORT)}


def _send_reset(creator: Creator, client: ClientInfo) -> Facts:
    if not limits.allows_mail("reset", creator.email, client):
        raise RateLimitedError(limits.HOUR)
    tasks.send_reset_mail.enqueue(creator.email, settings.LANGUAGE_CODE, by_support=True)
    return {}


def _deactivate(creator: Creator, client: ClientInfo) -> Facts:
    """Nothing of before comes back to life with the account."""
    Creator.objects.filter(pk=creator.pk).update(is_active=False)
    visitors = EndUserSession.objects.filter(creator_id=creator.pk)
    visitors._raw_delete(visitors.db)
    return _end_sessions(creator, client)


def _reactivate(creator: Creator, client: ClientInfo) -> Facts:
    Creator.objects.filter(pk=creator.pk).update(is_active=True)
    return {}


def _mark_verified(creator: Creator, client: ClientInfo) -> Facts:
    if not email_verification.hold_address(creator.pk):
        raise AddressTakenError
    creator.holds_email = True
    return {}


def _delete(creator: Creator, client: ClientInfo) -> Facts:
    account_deletion.delete_account_rows(creator.pk)
    return {}


SUPPORT_ACTIONS = {
    "lift_lock": SupportAction(Event.ACCOUNT_UNLOCKED, _has_count, _unlock),
    "end_sessions": SupportAction(
        Event.SESSIONS_REVOKED,
        lambda creator: sessions.live_sessions(creator.pk).exists(),
        _end_sessions,
        Kind.SUPPORT_ENDED_SESSIONS,
    ),
    "send_reset": SupportAction(
        Event.PASSWORD_RESET_SENT, lambda creator: creator.holds_email and creator.is_active, _send_reset
    ),
    "deactivate": SupportAction(
        Event.ACCOUNT_DEACTIVATED, lambda creator: creator.is_active, _deactivate, Kind.SUPPORT_DEACTIVATED
    ),
    "reactivate": SupportAction(
        Event.ACCOUNT_REACTIVATED,
        lambda creator: not creator.is_active,
        _reactivate,
        Kind.SUPPORT_REACTIVATED,
    ),
    "mark_verified": SupportAction(
        Event.EMAIL_MARKED_VERIFIED,
        lambda creator: creator.email_verified_at is None,
        _mark_verified,
        Kind.SUPPORT_VERIFIED,
    ),
    "delete": SupportAction(Event.ACCOUNT_REMOVED, lambda creator: True, _delete),
}
