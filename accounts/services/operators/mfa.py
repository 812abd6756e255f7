"""The second factor of operators: TOTP codes of an authenticator app (RFC 6238), and recovery codes.

Wrong codes lock the account like wrong passwords, with a count of their own. Only an operator who gave the
right password can add to it.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode
from uuid import UUID

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.utils import timezone
from django_otp.oath import TOTP

from accounts.models import Authenticator, Creator, RecoveryCode, SecurityNotice
from accounts.services import lockout, notices
from accounts.services.password_hashing import VerificationResult
from audit.encryption import fernet_for
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

SCOPE = lockout.LoginScope.SECOND_FACTOR
STEP_SECONDS = 30
DIGITS = 6
TOLERANCE = 1  # steps before and after, for clocks that differ
SECRET_BYTES = 20  # 160 bits (RFC 4226 § 4)
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 10  # 80 random bits need no slow hash
PURPOSE = "accounts.second_factor"
Kind = SecurityNotice.Kind


class AlreadySetUpError(Exception):
    """The operator already has an authenticator, and it is not the one to be replaced."""


def new_secret() -> bytes:
    """An encrypted random secret for an authenticator that is being set up."""
    return fernet_for(PURPOSE).encrypt(secrets.token_bytes(SECRET_BYTES))


def base32_secret(secret: bytes) -> str:
    """Decrypt a secret and encode it for typing into an app."""
    return base64.b32encode(fernet_for(PURPOSE).decrypt(secret)).decode()


def provisioning_uri(secret: bytes, email: str) -> str:
    """The `otpauth` URI of the QR code, in Google Authenticator's key URI format."""
    label = quote(f"{settings.SERVICE_NAME}:{email}")
    return f"otpauth://totp/{label}?" + urlencode(
        {"secret": base32_secret(secret), "issuer": settings.SERVICE_NAME}, quote_via=quote
    )


def authenticator_of(operator_id: UUID) -> Authenticator | None:
    authenticator: Authenticator | None = Authenticator.objects.filter(user_id=operator_id).first()
    return authenticator


def set_up(
    operator: Creator, *, secret: bytes, code: str, replacing: Authenticator | None, client: ClientInfo
) -> tuple[Authenticator, list[str]] | None:
    """Store a new authenticator and return it with its recovery codes; None if the code is wrong.

    Raises:
        AlreadySetUpError: another request was faster; nothing is changed.

    """
    step = _matching_step(secret, code)
    if step is None:
        return None
    with tenant_scope(operator.pk):
        Creator.objects.select_for_update().get(pk=operator.pk)  # serializes concurrent set-ups
        current = authenticator_of(operator.pk)
        if current != replacing:
            raise AlreadySetUpError
        if current:
            Authenticator.objects.filter(pk=current.pk).delete()
        authenticator = Authenticator.objects.create(
            user_id=operator.pk, secret=secret, last_step=step, created_at=timezone.now()
        )
        codes = _new_recovery_codes(authenticator)
        _record_and_notify(Event.SECOND_FACTOR_SET_UP, Kind.SECOND_FACTOR_SET_UP, operator.pk, client)
    return authenticator, codes


def is_totp_code(text: str) -> bool:
    """Whether this has the form of a TOTP code. Recovery codes and valid passwords are longer."""
    return len(text) == DIGITS and text.isdecimal() and text.isascii()


def authenticate(operator: Creator, *, code: str, client: ClientInfo) -> Authenticator | None:
    """Complete the sign-in with a TOTP code or a recovery code; None if it is wrong. Each code works once.

    Raises:
        AccountLockedError, RateLimitedError: the code was not checked.

    """
    authenticator = authenticator_of(operator.pk)
    if authenticator is None:
        return None
    use_code = _use_totp_code if is_totp_code(code) else _use_recovery_code
    if not _count_attempt(operator, lambda: use_code(authenticator, code), client):
        return None
    with tenant_scope(operator.pk):
        if use_code is _use_recovery_code:
            _record_and_notify(Event.RECOVERY_CODE_USED, Kind.RECOVERY_CODE_USED, operator.pk, client)
        record(Event.OPERATOR_SIGNED_IN, client=client, creator_id=operator.pk)
    return authenticator


def verify_totp_code(operator: Creator, *, code: str, client: ClientInfo) -> bool:
    """Check a TOTP code of an operator who is signed in. Raises as authenticate does."""
    authenticator = authenticator_of(operator.pk)
    return authenticator is not None and _count_attempt(
        operator, lambda: _use_totp_code(authenticator, code), client
    )


def recovery_codes_left(authenticator: Authenticator) -> int:
    return RecoveryCode.objects.filter(authenticator=authenticator, used_at=None).count()


def renew_recovery_codes(authenticator: Authenticator, *, client: ClientInfo) -> list[str]:
    """Replace all recovery codes."""
    with tenant_scope(authenticator.user_id):
        codes = _new_recovery_codes(authenticator)
        _record_and_notify(
            Event.RECOVERY_CODES_RENEWED, Kind.RECOVERY_CODES_RENEWED, authenticator.user_id, client
        )
    return codes


def reset(operator_id: UUID, *, client: ClientInfo, by: UUID | None = None) -> bool:
    """Delete the authenticator and its recovery codes; False if there is none. A command has no `by`.

    The operator's sessions end too, and the next sign-in sets up a new authenticator.
    """
    with tenant_scope(operator_id):
        deleted, _ = Authenticator.objects.filter(user_id=operator_id).delete()
        if deleted:
            _record_and_notify(
                Event.SECOND_FACTOR_RESET, Kind.SECOND_FACTOR_RESET, operator_id, client, by=str(by or "")
            )
    return bool(deleted)


def _matching_step(secret: bytes, code: str) -> int | None:
    """The time step of a TOTP code; None if it is wrong now, or if SECRET_KEY has changed."""
    try:
        totp = TOTP(fernet_for(PURPOSE).decrypt(secret), STEP_SECONDS, digits=DIGITS)
    except InvalidToken:
        return None
    totp.time = time.time()  # fixed, so that `t` gives the step that `verify` has matched
    is_right = is_totp_code(code) and totp.verify(int(code), TOLERANCE)
    return totp.t() if is_right else None


def _use_totp_code(authenticator: Authenticator, code: str) -> VerificationResult:
    """Accept no code twice, not even in concurrent requests (RFC 6238 § 5.2)."""
    step = _matching_step(bytes(authenticator.secret), code)
    unused = Authenticator.objects.filter(pk=authenticator.pk, last_step__lt=step or 0)
    return VerificationResult(is_right=step is not None and unused.update(last_step=step) == 1)


def _use_recovery_code(authenticator: Authenticator, code: str) -> VerificationResult:
    unused = RecoveryCode.objects.filter(authenticator=authenticator, digest=_digest(code), used_at=None)
    return VerificationResult(is_right=unused.update(used_at=timezone.now()) == 1)


def _new_recovery_codes(authenticator: Authenticator) -> list[str]:
    RecoveryCode.objects.filter(authenticator=authenticator).delete()
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(
        RecoveryCode(authenticator=authenticator, digest=_digest(code)) for code in codes
    )
    return codes


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.replace("-", "").upper().encode()).digest()


def _count_attempt(operator: Creator, verify: Callable[[], VerificationResult], client: ClientInfo) -> bool:
    outcome = lockout.count_attempt(verify, email=operator.email, scope=SCOPE)
    if outcome.result.is_right:
        return True
    with tenant_scope(operator.pk):
        record(Event.SECOND_FACTOR_FAILED, client=client, creator_id=operator.pk)
        if outcome.locked_until:  # the sender knows the password
            _record_and_notify(
                Event.ACCOUNT_LOCKED, Kind.SECOND_FACTOR_LOCKED, operator.pk, client, scope=SCOPE
            )
    return False


def _record_and_notify(
    event: Event, kind: SecurityNotice.Kind, operator_id: UUID, client: ClientInfo, **detail: str
) -> None:
    with tenant_scope(operator_id):
        record(event, client=client, creator_id=operator_id, **detail)
        notices.add(kind, creator_id=operator_id, client=client)
