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
    """Set the new password; end all one-time links and all other sessions of the creator.

    Raises:
        AccountLockedError, RateLimitedError, WrongPasswordError: about the current password.
        InvalidTokenError: the session ended, or the account was deleted, meanwhile.
        WeakPasswordError: about the new password.

    """

    def verify_and_write() -> bool | None:
        verified = confirm_password(caller.id, email=caller.email, password=current_password, client=client)
        password_hashing.validate(
            new_password, email=caller.email, display_name=caller.display_name, field="new_password"
        )
        new_hash = password_hashing.hash_password(new_password)
        return _change(caller, verified, new_hash, client) or None

    password_hashing.retry_if_changed(verify_and_write)


def confirm_password(creator_id: UUID, *, email: str, password: str, client: ClientInfo) -> str:
    """Verify the creator's password again, and return its hash. Failures count towards the lockout.

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
    if outcome.result.is_right and creator.must_reset_password:
        raise PasswordMustBeResetError
    if outcome.result.is_right:
        return creator.password
    with tenant_scope(creator_id):
        record(Event.PASSWORD_CHECK_FAILED, client=client, creator_id=creator_id)
        if outcome.locked_until:
            notices.report_lockout(
                email=email, creator_id=creator_id, until=outcome.locked_until, client=client
            )
    raise WrongPasswordError


def _change(caller: Caller, verified_hash: str, new_hash: str, client: ClientInfo) -> bool:
    """False if `verified_hash` is no longer the account's."""
    with tenant_scope(caller.id):
        if not sessions.lock_if_unchanged(caller, verified_hash=verified_hash):
            return False
        Creator.objects.filter(pk=caller.id).update(password=new_hash)
        sessions.end_sessions(creator_id=caller.id, keep=caller.session_id)
        Creator.objects.end_links(caller.id)
        record(Event.PASSWORD_CHANGED, client=client, creator_id=caller.id)
        notices.add(SecurityNotice.Kind.PASSWORD_CHANGED, creator_id=caller.id, client=client)
    return True
