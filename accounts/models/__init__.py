"""Columns, constraints and predicates. The rules are in `services/`."""

from .creators import Creator, Operator
from .mails import (
    EmailChange,
    EmailChangeToken,
    EmailVerificationToken,
    LinkToken,
    PasswordResetToken,
    RefusedMail,
    SecurityNotice,
)
from .second_factor import Authenticator, RecoveryCode
from .service import ApiKey, Counter, LockoutLimits, LoginReservation, SigningKey
from .sessions import BlacklistedToken, RefreshToken, Session, UserSession
from .tenants import TenantModel

__all__ = [
    "ApiKey",
    "Authenticator",
    "BlacklistedToken",
    "Counter",
    "Creator",
    "EmailChange",
    "EmailChangeToken",
    "EmailVerificationToken",
    "LinkToken",
    "LockoutLimits",
    "LoginReservation",
    "Operator",
    "PasswordResetToken",
    "RecoveryCode",
    "RefreshToken",
    "RefusedMail",
    "SecurityNotice",
    "Session",
    "SigningKey",
    "TenantModel",
    "UserSession",
]
