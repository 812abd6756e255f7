"""The password of operators: sign-in to the admin, reauthentication and change."""

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


def authenticate(*, email: str, password: str, client: ClientInfo) -> Creator | None:
    """The operator with this address and password, None if there is none.

    Raises:
        InvalidAddressError, AccountLockedError, RateLimitedError: the password was not checked.

    """
    email = canonical_email(email)
    operator = Creator.objects.filter(email=email, holds_email=True, is_staff=True, is_active=True).first()
    encoded = operator.password if operator else None
    outcome = lockout.verify_password(email=email, password=password, encoded=encoded, scope=SCOPE)
    if operator is None or not outcome.result.is_right:
        _record_failure(Event.LOGIN_FAILED, email, operator, outcome.locked_until, client)
        return None
    if outcome.result.needs_upgrade:
        new_hash = password_hashing.hash_password(password)
        Creator.objects.filter(pk=operator.pk, password=encoded).update(password=new_hash)
        operator.refresh_from_db()
    record(Event.LOGIN_SUCCEEDED, client=client, creator_id=operator.pk, scope=SCOPE)
    return operator


def reauthenticate(operator: Creator, *, credential: str, client: ClientInfo) -> bool:
    """Check the password or a TOTP code of an operator who is signed in.

    Raises:
        AccountLockedError, RateLimitedError: the credential was not checked.

    """
    if mfa.is_totp_code(credential):
        is_right = mfa.verify_totp_code(operator, code=credential, client=client)
    else:
        is_right = verify_password(operator, password=credential, client=client)
    if is_right:
        record(Event.OPERATOR_CONFIRMED, client=client, creator_id=operator.pk)
    return is_right


def verify_password(operator: Creator, *, password: str, client: ClientInfo) -> bool:
    """Failures count as at the sign-in. Raises as reauthenticate does."""
    outcome = lockout.verify_password(
        email=operator.email, password=password, encoded=operator.password, scope=SCOPE
    )
    if not outcome.result.is_right:
        _record_failure(Event.PASSWORD_CHECK_FAILED, operator.email, operator, outcome.locked_until, client)
    return outcome.result.is_right


def change_password(operator: Creator, *, new_password: str, client: ClientInfo) -> None:
    """Store a new, validated password. Django ends the operator's other sessions."""
    operator.password = password_hashing.hash_password(new_password)
    with tenant_scope(operator.pk):
        Creator.objects.filter(pk=operator.pk).update(password=operator.password)
        record(Event.PASSWORD_CHANGED, client=client, creator_id=operator.pk)
        notices.add(SecurityNotice.Kind.PASSWORD_CHANGED, creator_id=operator.pk, client=client)


def _record_failure(
    event: Event, email: str, operator: Creator | None, locked_until: datetime | None, client: ClientInfo
) -> None:
    creator_id = operator.pk if operator else NO_TENANT
    with tenant_scope(creator_id):
        record(event, client=client, creator_id=creator_id, email=email, scope=SCOPE)
        if locked_until:
            record(Event.ACCOUNT_LOCKED, client=client, creator_id=creator_id, email=email, scope=SCOPE)
