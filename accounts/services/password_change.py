"""Changing the password of a signed-in creator."""

from uuid import UUID

from accounts.exceptions import InvalidTokenError, PasswordMustBeResetError, WrongPasswordError
from accounts.models import Creator, SecurityNotice
from accounts.sql import Caller
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

from . import lockout, notices, password_hashing, sessions


def change_password(caller: Caller, *, current_password: str, new_password: str, client: ClientInfo) -> None:
    """Set the new password; every other session of the creator ends, and every one-time link.

    Raises:
        AccountLockedError, RateLimitedError, WrongPasswordError: about the current password.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.
        WeakPasswordError: about the new one.

    """
    encoded = confirm_password(caller.id, email=caller.email, password=current_password, client=client)
    password_hashing.validate(
        new_password, email=caller.email, display_name=caller.display_name, field="new_password"
    )
    new_hash = password_hashing.hash_password(new_password)
    with tenant_scope(caller.id):
        changed = sessions.is_confirmed(caller, password=encoded)
        if changed:
            Creator.objects.filter(pk=caller.id).update(password=new_hash)
            sessions.end_sessions(creator_id=caller.id, keep=caller.session_id)
            Creator.objects.end_links(caller.id)
            record(Event.PASSWORD_CHANGED, client=client, creator_id=caller.id)
            notices.add(SecurityNotice.Kind.PASSWORD_CHANGED, creator_id=caller.id, client=client)
    if not changed:  # changed, reset or hashed anew in the meantime: is the password still right?
        change_password(caller, current_password=current_password, new_password=new_password, client=client)


def confirm_password(creator_id: UUID, *, email: str, password: str, client: ClientInfo) -> str:
    """Ask the creator for the password again, and return its hash. Failures count towards the lockout.

    Raises:
        InvalidTokenError: the account was deleted meanwhile.
        AccountLockedError, RateLimitedError: the password was not verified.
        WrongPasswordError: it is wrong, or must be reset first.

    """
    with tenant_scope(creator_id):
        creator = Creator.objects.filter(pk=creator_id).first()
    if creator is None:
        raise InvalidTokenError
    outcome = lockout.verify_password(email=email, password=password, encoded=creator.password)
    if outcome.verdict.is_right and creator.must_reset_password:
        raise PasswordMustBeResetError
    if outcome.verdict.is_right:
        return creator.password
    with tenant_scope(creator_id):
        record(Event.PASSWORD_CHECK_FAILED, client=client, creator_id=creator_id)
        if outcome.locked_until:
            notices.report_lock(email=email, creator_id=creator_id, until=outcome.locked_until, client=client)
    raise WrongPasswordError
