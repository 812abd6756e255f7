"""All types of events, named noun.verb, and a sentence about each for the account's owner."""

from enum import StrEnum
from typing import Any


class Event(StrEnum):
    REGISTRATION_REQUESTED = "registration.requested"
    REGISTRATION_REPEATED = "registration.repeated"  # the address has an account
    EMAIL_CHANGE_REQUESTED = "email.change_requested"
    EMAIL_CHANGED = "email.changed"
    EMAIL_CHANGE_UNDONE = "email.change_undone"
    END_USER_SESSION_ENDED = "end_user_session.ended"
    EMAIL_MARKED_VERIFIED = "email.marked_verified"  # by an operator
    EMAIL_UNDELIVERABLE = "email.undeliverable"  # refused permanently, or marked by an operator
    EMAIL_VERIFIED = "email.verified"
    EMAIL_VERIFICATION_FAILED = "email.verification_failed"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    ACCOUNT_LOCKED = "account.locked"
    ACCOUNT_UNLOCKED = "account.unlocked"  # by an operator, as are the next four
    ACCOUNT_VIEWED = "account.viewed"
    ACCOUNT_DEACTIVATED = "account.deactivated"
    ACCOUNT_REACTIVATED = "account.reactivated"
    ACCOUNT_REMOVED = "account.removed"
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_EXPORTED = "account.exported"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    AUDIT_EXPORTED = "audit.exported"  # by an operator
    BREACH_CHECK_FAILED = "breach_check.failed"
    OPERATOR_ACTED = "operator.acted"  # on the operator's account, beside an event on the creator's
    MAIL_REFUSED = "mail.refused"  # permanently, by the mail server
    PASSWORD_CHANGED = "password.changed"
    PASSWORD_CHECK_FAILED = "password.check_failed"
    PASSWORD_RESET = "password.reset"
    PASSWORD_RESET_REQUESTED = "password.reset_requested"
    PASSWORD_RESET_SENT = "password.reset_sent"  # by an operator
    PASSWORD_UPGRADED = "password.upgraded"
    PASSWORD_WEAK_HASH_UPGRADED = "password.weak_hash_upgraded"  # bcrypt of a cost below BCRYPT_ROUNDS
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"  # all at once
    SESSIONS_REVOKED = "sessions.revoked"  # all, by an operator
    TOKEN_REVOKED = "token.revoked"
    TOKEN_REUSED = "token.reused"
    PROFILE_UPDATED = "profile.updated"
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    OPERATOR_CREATED = "operator.created"
    OPERATOR_SIGNED_IN = "operator.signed_in"  # with both factors
    OPERATOR_SIGNED_OUT = "operator.signed_out"
    OPERATOR_CONFIRMED = "operator.confirmed"  # password or code again, before a dangerous action
    OPERATOR_RIGHTS_CHANGED = "operator.rights_changed"
    SECOND_FACTOR_SET_UP = "second_factor.set_up"
    SECOND_FACTOR_FAILED = "second_factor.failed"
    SECOND_FACTOR_RESET = "second_factor.reset"
    RECOVERY_CODE_USED = "recovery_code.used"
    RECOVERY_CODES_RENEWED = "recovery_codes.renewed"


SUMMARIES = {
    Event.REGISTRATION_REQUESTED: "Someone signed up with your address.",
    Event.REGISTRATION_REPEATED: "Someone signed up again with the address of your account.",
    Event.EMAIL_MARKED_VERIFIED: "Support marked your email address as confirmed.",
    Event.EMAIL_UNDELIVERABLE: "Mail to your email address can't be delivered.",
    Event.EMAIL_VERIFIED: "You confirmed your email address.",
    Event.EMAIL_VERIFICATION_FAILED: "A confirmation link was used with a wrong password.",
    Event.LOGIN_SUCCEEDED: "You signed in.",
    Event.LOGIN_FAILED: "A sign-in failed.",
    Event.ACCOUNT_LOCKED: "Sign-in was locked for a while after too many wrong passwords.",
    Event.ACCOUNT_UNLOCKED: "Support unlocked your sign-in.",
    Event.ACCOUNT_VIEWED: "Support viewed your account.",
    Event.ACCOUNT_DEACTIVATED: "Support deactivated your account.",
    Event.ACCOUNT_REACTIVATED: "Support reactivated your account.",
    Event.ACCOUNT_REMOVED: "Support deleted your account.",
    Event.ACCOUNT_DELETED: "You deleted your account.",
    Event.ACCOUNT_EXPORTED: "You exported the data of your account.",
    Event.API_KEY_CREATED: "An API key was created.",
    Event.API_KEY_REVOKED: "An API key was revoked.",
    Event.AUDIT_EXPORTED: "You exported the audit log.",
    Event.EMAIL_CHANGE_REQUESTED: "A change of your email address was requested.",
    Event.EMAIL_CHANGED: "Your email address was changed.",
    Event.EMAIL_CHANGE_UNDONE: "The change of your email address was undone.",
    Event.END_USER_SESSION_ENDED: "The session of one of your end users was ended.",
    Event.TOKEN_REVOKED: "A token of yours was revoked by a server that trusts this service.",
    Event.BREACH_CHECK_FAILED: "A password could not be checked for data breaches.",
    Event.MAIL_REFUSED: "A mail to you was refused by the mail server.",
    Event.PASSWORD_CHANGED: "You changed your password.",
    Event.PASSWORD_CHECK_FAILED: "A wrong password was given while you were signed in.",
    Event.PASSWORD_RESET: "Your password was reset by a link from your mailbox.",
    Event.PASSWORD_RESET_REQUESTED: "A link to reset your password was requested.",
    Event.PASSWORD_RESET_SENT: "Support sent you a link to reset your password.",
    Event.PASSWORD_UPGRADED: "Your password is now stored with a newer method.",
    Event.PASSWORD_WEAK_HASH_UPGRADED: "Your password was stored with a weak method; it no longer is.",
    Event.SESSION_ENDED: "You signed out.",
    Event.SESSIONS_ENDED: "All your sessions were ended.",
    Event.SESSIONS_REVOKED: "Support ended all your sessions.",
    Event.OPERATOR_ACTED: "You viewed a creator's account or changed it.",
    Event.TOKEN_REUSED: "A refresh token was used twice; its session was ended.",
    Event.PROFILE_UPDATED: "You changed your profile.",
    Event.SIGNING_KEY_ROTATED: "The service has a new signing key.",
    Event.OPERATOR_CREATED: "You were made an operator.",
    Event.OPERATOR_SIGNED_IN: "You signed in as an operator.",
    Event.OPERATOR_SIGNED_OUT: "You signed out as an operator.",
    Event.OPERATOR_CONFIRMED: "You confirmed with your password or a code that it is you.",
    Event.OPERATOR_RIGHTS_CHANGED: "Your rights as an operator were changed.",
    Event.SECOND_FACTOR_SET_UP: "You set up an authenticator app.",
    Event.SECOND_FACTOR_FAILED: "A wrong code was given as your second factor.",
    Event.SECOND_FACTOR_RESET: "Your authenticator app and recovery codes were removed.",
    Event.RECOVERY_CODE_USED: "A recovery code of yours was used.",
    Event.RECOVERY_CODES_RENEWED: "You made new recovery codes.",
}


def summary_of(type_: str, detail: dict[str, Any]) -> str:
    """The event in one sentence, with the operator's reason if there is one."""
    sentence = str(SUMMARIES.get(type_, type_))  # type: ignore[call-overload]
    return f"{sentence.removesuffix('.')}: {detail['reason']}" if "reason" in detail else sentence
