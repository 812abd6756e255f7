"""Everything that can happen, in one grammar: noun.verb."""

from enum import StrEnum


class Event(StrEnum):
    REGISTRATION_REQUESTED = "registration.requested"
    REGISTRATION_REPEATED = "registration.repeated"  # for an address that has an account
    EMAIL_CHANGE_REQUESTED = "email.change_requested"
    EMAIL_CHANGED = "email.changed"
    EMAIL_CHANGE_UNDONE = "email.change_undone"
    END_USER_SESSION_ENDED = "end_user_session.ended"
    EMAIL_VERIFIED = "email.verified"
    EMAIL_VERIFICATION_FAILED = "email.verification_failed"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    ACCOUNT_LOCKED = "account.locked"
    ACCOUNT_UNLOCKED = "account.unlocked"  # by an operator
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_EXPORTED = "account.exported"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    AUDIT_EXPORTED = "audit.exported"  # by an operator; nobody's
    BREACH_CHECK_FAILED = "breach_check.failed"
    PASSWORD_CHANGED = "password.changed"
    PASSWORD_CHECK_FAILED = "password.check_failed"
    PASSWORD_RESET = "password.reset"
    PASSWORD_RESET_REQUESTED = "password.reset_requested"
    PASSWORD_UPGRADED = "password.upgraded"
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"  # all of them at once
    TOKEN_REVOKED = "token.revoked"
    TOKEN_REUSED = "token.reused"
    PROFILE_UPDATED = "profile.updated"
    SIGNING_KEY_ROTATED = "signing_key.rotated"


SUMMARIES = {
    Event.REGISTRATION_REQUESTED: "Someone signed up with your address.",
    Event.REGISTRATION_REPEATED: "Someone signed up again with the address of your account.",
    Event.EMAIL_VERIFIED: "You confirmed your e-mail address.",
    Event.EMAIL_VERIFICATION_FAILED: "A confirmation link was used with a wrong password.",
    Event.LOGIN_SUCCEEDED: "You signed in.",
    Event.LOGIN_FAILED: "A sign-in failed.",
    Event.ACCOUNT_LOCKED: "Sign-in was locked for a while after too many wrong passwords.",
    Event.ACCOUNT_UNLOCKED: "An operator ended a lock of your sign-in.",
    Event.ACCOUNT_DELETED: "You deleted your account.",
    Event.ACCOUNT_EXPORTED: "You downloaded what is held about you.",
    Event.API_KEY_CREATED: "An API key was made.",
    Event.API_KEY_REVOKED: "An API key was revoked.",
    Event.AUDIT_EXPORTED: "An operator exported the audit log.",
    Event.EMAIL_CHANGE_REQUESTED: "You asked for another e-mail address.",
    Event.EMAIL_CHANGED: "Your e-mail address was changed.",
    Event.EMAIL_CHANGE_UNDONE: "The change of your e-mail address was undone.",
    Event.END_USER_SESSION_ENDED: "The session of one of your visitors was ended.",
    Event.TOKEN_REVOKED: "A token of yours was revoked by a server that trusts this service.",
    Event.BREACH_CHECK_FAILED: "A password could not be checked for data breaches.",
    Event.PASSWORD_CHANGED: "You changed your password.",
    Event.PASSWORD_CHECK_FAILED: "A wrong password was given where yours was asked for again.",
    Event.PASSWORD_RESET: "Your password was reset by a link from your mailbox.",
    Event.PASSWORD_RESET_REQUESTED: "A link to reset your password was asked for.",
    Event.PASSWORD_UPGRADED: "Your password is now stored with a newer method.",
    Event.SESSION_ENDED: "You signed out.",
    Event.SESSIONS_ENDED: "All your sessions were ended.",
    Event.TOKEN_REUSED: "A refresh token was used twice; its session was ended.",
    Event.PROFILE_UPDATED: "You changed your profile.",
    Event.SIGNING_KEY_ROTATED: "The service has a new signing key.",
}
