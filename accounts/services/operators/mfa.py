"""The second factor of operators: codes of an app (TOTP, RFC 6238), and recovery codes for when it is lost.

Wrong codes are counted as wrong passwords are, at a scope of their own that opens after the password only.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode
from uuid import UUID

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.utils import timezone
from django_otp.oath import hotp

from accounts.models import Authenticator, Creator, RecoveryCode, SecurityNotice
from accounts.services import lockout, notices
from accounts.services.password_hashing import VerificationResult
from audit.encryption import fernet_for
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.context import tenant_scope

SCOPE = lockout.LoginScope.SECOND_FACTOR
STEP = 30  # seconds
DIGITS = 6
TOLERANCE = 1  # steps before and after, for clocks that differ
SECRET_BYTES = 20  # RFC 4226, 4: 160 bits
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 10  # 80 random bits: a plain digest is enough
PURPOSE = "accounts.second_factor"
Kind = SecurityNotice.Kind


class AlreadySetUpError(Exception):
    """The operator has an app, and it is not the one that was to be replaced."""


def new_secret() -> bytes:
    """For an app that is being set up; encrypted, as it may be kept."""
    return fernet_for(PURPOSE).encrypt(secrets.token_bytes(SECRET_BYTES))


def spelled(secret: bytes) -> str:
    """An encrypted secret in base32, for typing it into an app."""
    return base64.b32encode(fernet_for(PURPOSE).decrypt(secret)).decode()


def provisioning_uri(secret: bytes, email: str) -> str:
    """What the QR code says, in the format that Google Authenticator began."""
    label = quote(f"{settings.SERVICE_NAME}:{email}")
    return f"otpauth://totp/{label}?" + urlencode(
        {"secret": spelled(secret), "issuer": settings.SERVICE_NAME}, quote_via=quote
    )


def authenticator_of(operator_id: UUID) -> Authenticator | None:
    found: Authenticator | None = Authenticator.objects.filter(user_id=operator_id).first()
    return found


def set_up(
    operator: Creator, *, secret: bytes, code: str, replacing: Authenticator | None, client: ClientInfo
) -> tuple[Authenticator, list[str]] | None:
    """The operator's app and its recovery codes; None where the code is not one of the secret's.

    Raises:
        AlreadySetUpError: nothing is changed.

    """
    step = _step_of(secret, code)
    if step is None:
        return None
    with tenant_scope(operator.pk):
        Creator.objects.select_for_update().get(pk=operator.pk)  # one after the other
        current = authenticator_of(operator.pk)
        if current != replacing:
            raise AlreadySetUpError
        if current:
            Authenticator.objects.filter(pk=current.pk).delete()
        authenticator = Authenticator.objects.create(
            user_id=operator.pk, secret=secret, last_step=step, created_at=timezone.now()
        )
        codes = _new_recovery_codes(authenticator)
        _tell(Event.SECOND_FACTOR_SET_UP, Kind.SECOND_FACTOR_SET_UP, operator.pk, client)
    return authenticator, codes


def is_of_app(code: str) -> bool:
    """A code as apps show it, and so neither a recovery code nor a password."""
    return len(code) == DIGITS and code.isdecimal() and code.isascii()


def sign_in(operator: Creator, *, code: str, client: ClientInfo) -> Authenticator | None:
    """The operator's app, if this is a code of it or a recovery code; each works once.

    Raises:
        AccountLockedError, RateLimitedError: the code was not looked at.

    """
    authenticator = authenticator_of(operator.pk)
    if authenticator is None:
        return None
    by_recovery = not is_of_app(code)
    judge = _spend_recovery_code if by_recovery else _spend_code
    if not _looked_at(operator, lambda: judge(authenticator, code), client):
        return None
    with tenant_scope(operator.pk):
        if by_recovery:
            _tell(Event.RECOVERY_CODE_USED, Kind.RECOVERY_CODE_USED, operator.pk, client)
        record(Event.OPERATOR_SIGNED_IN, client=client, creator_id=operator.pk)
    return authenticator


def confirm(operator: Creator, *, code: str, client: ClientInfo) -> bool:
    """Is this a code of the app of an operator who is signed in? Raises as sign_in does."""
    authenticator = authenticator_of(operator.pk)
    return authenticator is not None and _looked_at(
        operator, lambda: _spend_code(authenticator, code), client
    )


def recovery_codes_left(authenticator: Authenticator) -> int:
    return RecoveryCode.objects.filter(authenticator=authenticator, used_at=None).count()


def renew_recovery_codes(authenticator: Authenticator, *, client: ClientInfo) -> list[str]:
    """Ten new ones; the old ones are void."""
    with tenant_scope(authenticator.user_id):
        codes = _new_recovery_codes(authenticator)
        _tell(Event.RECOVERY_CODES_RENEWED, Kind.RECOVERY_CODES_RENEWED, authenticator.user_id, client)
    return codes


def reset(operator_id: UUID, *, client: ClientInfo, by: UUID | None = None) -> bool:
    """Take app and recovery codes away, by a superuser or (None) on the console; False where there is no app.

    The operator's sessions end with it, and the next sign-in sets up a new one.
    """
    with tenant_scope(operator_id):
        deleted, _ = Authenticator.objects.filter(user_id=operator_id).delete()
        if deleted:
            _tell(Event.SECOND_FACTOR_RESET, Kind.SECOND_FACTOR_RESET, operator_id, client, by=str(by or ""))
    return bool(deleted)


def _step_of(secret: bytes, code: str) -> int | None:
    """The time step whose code this is; None where it is of none around now, or SECRET_KEY is another."""
    try:
        key = fernet_for(PURPOSE).decrypt(secret)
    except InvalidToken:
        return None
    now = int(time.time()) // STEP
    for step in range(now - TOLERANCE, now + TOLERANCE + 1):
        if hmac.compare_digest(f"{hotp(key, step, DIGITS):0{DIGITS}}".encode(), code.encode()):
            return step
    return None


def _spend_code(authenticator: Authenticator, code: str) -> VerificationResult:
    """RFC 6238, 5.2: no code twice, however many come at once."""
    step = _step_of(bytes(authenticator.secret), code)
    unspent = Authenticator.objects.filter(pk=authenticator.pk, last_step__lt=step or 0)
    return VerificationResult(is_right=step is not None and unspent.update(last_step=step) == 1)


def _spend_recovery_code(authenticator: Authenticator, code: str) -> VerificationResult:
    unspent = RecoveryCode.objects.filter(authenticator=authenticator, digest=_digest(code), used_at=None)
    return VerificationResult(is_right=unspent.update(used_at=timezone.now()) == 1)


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


def _looked_at(operator: Creator, look: Callable[[], VerificationResult], client: ClientInfo) -> bool:
    outcome = lockout.count_attempt(look, email=operator.email, scope=SCOPE)
    if outcome.verdict.is_right:
        return True
    with tenant_scope(operator.pk):
        record(Event.SECOND_FACTOR_FAILED, client=client, creator_id=operator.pk)
        if outcome.locked_until:  # by somebody who knows the password
            _tell(Event.ACCOUNT_LOCKED, Kind.SECOND_FACTOR_LOCKED, operator.pk, client, scope=SCOPE)
    return False


def _tell(
    event: Event, kind: SecurityNotice.Kind, operator_id: UUID, client: ClientInfo, **detail: str
) -> None:
    """The book, and the operator by mail; inside the operator's scope."""
    record(event, client=client, creator_id=operator_id, **detail)
    notices.add(kind, creator_id=operator_id, client=client)
