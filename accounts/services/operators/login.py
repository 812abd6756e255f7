"""Operators at the admin's scope: staff only, with a count of their own."""

from datetime import datetime

from accounts.email_addresses import canonical_email
from accounts.models import Creator, SecurityNotice
from accounts.services import lockout, notices, password_hashing
from audit.events import Event
from audit.recorder import NO_TENANT, record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import mfa

SCOPE = lockout.LoginScope.ADMIN


def recognise(*, email: str, password: str, client: ClientInfo) -> Creator | None:
    """The operator with this address and password, None where there is none.

    Raises:
        InvalidAddressError, AccountLockedError, RateLimitedError: the password was not looked at.

    """
    email = canonical_email(email)
    operator = Creator.objects.filter(email=email, holds_email=True, is_staff=True, is_active=True).first()
    encoded = operator.password if operator else None
    outcome = lockout.verify_password(email=email, password=password, encoded=encoded, scope=SCOPE)
    if operator is None or not outcome.verdict.is_right:
        _refuse(email, operator, outcome.locked_until, client)
        return None
    if outcome.verdict.needs_upgrade:
        new_hash = password_hashing.hash_password(password)
        Creator.objects.filter(pk=operator.pk, password=encoded).update(password=new_hash)
        operator.refresh_from_db()
    record(Event.LOGIN_SUCCEEDED, client=client, creator_id=operator.pk, scope=SCOPE)
    return operator


def confirm(operator: Creator, *, answer: str, client: ClientInfo) -> bool:
    """Is it still the signed-in operator? `answer` is the password, or a code of the app.

    Raises:
        AccountLockedError, RateLimitedError: the answer was not looked at.

    """
    if mfa.is_of_app(answer):
        is_right = mfa.confirm(operator, code=answer, client=client)
    else:
        is_right = confirm_password(operator, password=answer, client=client)
    if is_right:
        record(Event.OPERATOR_CONFIRMED, client=client, creator_id=operator.pk)
    return is_right


def confirm_password(operator: Creator, *, password: str, client: ClientInfo) -> bool:
    """Wrong ones count as at the sign-in. Raises as confirm does."""
    outcome = lockout.verify_password(
        email=operator.email, password=password, encoded=operator.password, scope=SCOPE
    )
    if not outcome.verdict.is_right:
        _refuse(operator.email, operator, outcome.locked_until, client, Event.PASSWORD_CHECK_FAILED)
    return outcome.verdict.is_right


def change_password(operator: Creator, *, new_password: str, client: ClientInfo) -> None:
    """Set it, once the validators and the old one have been asked; Django ends the other sessions."""
    operator.password = password_hashing.hash_password(new_password)
    with tenant_scope(operator.pk):
        Creator.objects.filter(pk=operator.pk).update(password=operator.password)
        record(Event.PASSWORD_CHANGED, client=client, creator_id=operator.pk)
        notices.add(SecurityNotice.Kind.PASSWORD_CHANGED, creator_id=operator.pk, client=client)


def _refuse(
    email: str,
    operator: Creator | None,
    locked_until: datetime | None,
    client: ClientInfo,
    event: Event = Event.LOGIN_FAILED,
) -> None:
    creator_id = operator.pk if operator else NO_TENANT
    with tenant_scope(creator_id):
        record(event, client=client, creator_id=creator_id, email=email, scope=SCOPE)
        if locked_until:
            record(Event.ACCOUNT_LOCKED, client=client, creator_id=creator_id, email=email, scope=SCOPE)
