"""Columns, constraints and querysets. The business rules are in `services/`."""

from .base import TenantModel
from .creators import Creator, Operator
from .email_tokens import (
    EmailChange,
    EmailChangeToken,
    EmailVerificationToken,
    LinkToken,
    PasswordResetToken,
)
from .infrastructure import ApiKey, Counter, LockoutLimits, LoginReservation, SigningKey
from .notices import RefusedMail, SecurityNotice
from .operators import Authenticator, RecoveryCode
from .sessions import BlacklistedToken, EndUserSession, RefreshToken, Session

__all__ = [
    "ApiKey",
    "Authenticator",
    "BlacklistedToken",
    "Counter",
    "Creator",
    "EmailChange",
    "EmailChangeToken",
    "EmailVerificationToken",
    "EndUserSession",
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
]
