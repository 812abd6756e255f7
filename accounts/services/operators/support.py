"""What operators can do to a creator's account.

Each action needs a recent justification, and is recorded in the audit logs of the creator and the operator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

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
Detail = dict[str, Any]


@dataclass(frozen=True)
class SupportAction:
    label: Promise
    description: Promise  # shown before the operator confirms
    done: Promise
    permission: str  # a codename of Creator
    event: Event
    applies_to: Callable[[Creator], bool]
    execute: Callable[[Creator, ClientInfo], Detail]  # returns details for the event
    notice: Kind | None = None
    is_dangerous: bool = False  # the operator must reauthenticate


def perform(name: str, *, creator_id: UUID, operator_id: UUID, client: ClientInfo) -> bool:
    """Run an action of SUPPORT_ACTIONS; False if it does not apply to the account.

    Raises:
        JustificationRequiredError: the operator gave none within the last hour.
        CreatorNotFoundError: no creator has this id; operators are not creators.
        AddressTakenError: another account has verified the address.
        RateLimitedError: the address got too many emails.

    """
    action = SUPPORT_ACTIONS[name]
    reason = justification.current_justification(creator_id=creator_id, operator_id=operator_id)
    # the language of the request is the operator's; the creator's is unknown
    with translation.override(settings.LANGUAGE_CODE), transaction.atomic(using=current_alias()):
        creator = Creator.objects.tenants().select_for_update(no_key=True).filter(pk=creator_id).first()
        if creator is None:
            raise CreatorNotFoundError
        if not action.applies_to(creator):
            return False
        detail = action.execute(creator, client) | {"reason": reason}
        Creator.objects.end_links(creator.pk)
        if action.notice and creator.holds_email:  # an unverified address may belong to someone else
            notices.add(action.notice, creator_id=creator_id, client=ClientInfo())
        justification.record_operator_action(
            action.event, creator_id=creator_id, operator_id=operator_id, client=client, **detail
        )
    return True


def _has_failures(creator: Creator) -> bool:
    return creator.holds_email and bool(lockout.failure_counts(creator.email))


def _unlock(creator: Creator, client: ClientInfo) -> Detail:
    for scope in lockout.LoginScope:
        lockout.unlock(creator.email, scope)
    return {}


def _end_sessions(creator: Creator, client: ClientInfo) -> Detail:
    return {"count": sessions.end_sessions(creator_id=creator.pk, reason=Session.End.SUPPORT)}


def _send_reset(creator: Creator, client: ClientInfo) -> Detail:
    if not limits.allows_mail("reset", creator.email, client):
        raise RateLimitedError(limits.HOUR)
    tasks.send_reset_mail.enqueue(creator.email, settings.LANGUAGE_CODE, by_support=True)
    return {}


def _deactivate(creator: Creator, client: ClientInfo) -> Detail:
    """Also ends every session, so that none works again after a reactivation."""
    Creator.objects.filter(pk=creator.pk).update(is_active=False)
    end_user_sessions = EndUserSession.objects.filter(creator_id=creator.pk)
    end_user_sessions._raw_delete(end_user_sessions.db)
    return _end_sessions(creator, client)


def _reactivate(creator: Creator, client: ClientInfo) -> Detail:
    Creator.objects.filter(pk=creator.pk).update(is_active=True)
    return {}


def _mark_verified(creator: Creator, client: ClientInfo) -> Detail:
    if not email_verification.hold_address(creator.pk):
        raise AddressTakenError
    creator.holds_email = True
    return {}


def _delete(creator: Creator, client: ClientInfo) -> Detail:
    account_deletion.delete_account_rows(creator.pk)
    return {}


SUPPORT_ACTIONS = {
    "unlock": SupportAction(
        label=_("Unlock"),
        description=_("Resets the failed-attempt counter. The account can sign in immediately."),
        done=_("The account is unlocked."),
        permission="unlock",
        event=Event.ACCOUNT_UNLOCKED,
        applies_to=_has_failures,
        execute=_unlock,
    ),
    "end_sessions": SupportAction(
        label=_("End all sessions"),
        description=_("Signs the creator out on every device immediately. The creator gets a mail about it."),
        done=_("All sessions are ended."),
        permission="end_sessions",
        event=Event.SESSIONS_REVOKED,
        applies_to=lambda creator: sessions.live_sessions(creator.pk).exists(),
        execute=_end_sessions,
        notice=Kind.SUPPORT_ENDED_SESSIONS,
    ),
    "send_reset": SupportAction(
        label=_("Send a reset mail"),
        description=_("Sends a mail with a link to choose a new password to the address of the account."),
        done=_("The mail is on its way."),
        permission="send_reset",
        event=Event.PASSWORD_RESET_SENT,
        applies_to=lambda creator: creator.holds_email and creator.is_active,
        execute=_send_reset,
    ),
    "mark_verified": SupportAction(
        label=_("Mark the address as verified"),
        description=_(
            "The person who signed up here becomes the owner of this address, without proof that the mailbox "
            "is theirs, and can sign in with their password. Other sign-ups with this address become void."
        ),
        done=_("The address is verified."),
        permission="mark_verified",
        event=Event.EMAIL_MARKED_VERIFIED,
        applies_to=lambda creator: creator.email_verified_at is None,
        execute=_mark_verified,
        notice=Kind.SUPPORT_VERIFIED,
        is_dangerous=True,
    ),
    "deactivate": SupportAction(
        label=_("Deactivate"),
        description=_(
            "Nobody can sign in to the account. Its sessions and those of its end users end immediately. "
            "The creator gets a mail about it."
        ),
        done=_("The account is deactivated."),
        permission="deactivate_creator",
        event=Event.ACCOUNT_DEACTIVATED,
        applies_to=lambda creator: creator.is_active,
        execute=_deactivate,
        notice=Kind.SUPPORT_DEACTIVATED,
        is_dangerous=True,
    ),
    "reactivate": SupportAction(
        label=_("Reactivate"),
        description=_("The creator can sign in again and gets a mail about it. Ended sessions stay ended."),
        done=_("The account is active again."),
        permission="deactivate_creator",
        event=Event.ACCOUNT_REACTIVATED,
        applies_to=lambda creator: not creator.is_active,
        execute=_reactivate,
        notice=Kind.SUPPORT_REACTIVATED,
        is_dangerous=True,
    ),
    "delete": SupportAction(
        label=_("Delete the account"),
        description=_(
            "Deletes the account and all its data permanently. Only its audit events remain, without "
            "personal data."
        ),
        done=_("The account is deleted."),
        permission="delete_creator",
        event=Event.ACCOUNT_REMOVED,
        applies_to=lambda creator: True,
        execute=_delete,
        is_dangerous=True,
    ),
}
