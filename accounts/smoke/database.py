"""Checks of the database: role, tenant isolation, signing key, audit log."""

from collections.abc import Iterator
from itertools import chain

import jwt
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS

from accounts.exceptions import NoSigningKeyError
from accounts.tokens.key_cache import key_ring
from audit.sealing.sealer import waiting_seconds
from tenancy.checks.catalog import catalog_findings
from tenancy.checks.privileges import privilege_findings
from tenancy.checks.probe import probe
from tenancy.checks.schema import role_findings, table_findings, version_findings

from .client import CheckFailed, Client, require

MAX_FINDINGS = 3  # in one message
MAX_UNSEALED_SECONDS = 300  # sealing takes less than two minutes


def check_role() -> None:
    _require_none(chain(version_findings(DEFAULT_DB_ALIAS), role_findings(DEFAULT_DB_ALIAS)))


def check_declarations() -> None:
    _require_none(chain(table_findings(DEFAULT_DB_ALIAS), catalog_findings(DEFAULT_DB_ALIAS)))


def check_tenant_isolation() -> None:
    """Tries every cross-tenant read, write and move, and what no tenant may do."""
    _require_none(privilege_findings(DEFAULT_DB_ALIAS))
    _require_none(chain.from_iterable(report.findings() for report in probe(DEFAULT_DB_ALIAS)))


def check_audit_log_is_sealed() -> None:
    """Checks the oldest unsealed event only; `verify_audit` reads the whole log."""
    seconds = waiting_seconds()
    require(seconds < MAX_UNSEALED_SECONDS, f"the oldest unsealed audit event is {seconds:.0f} s old")


def _require_none(findings: Iterator[str]) -> None:
    listed = list(findings)
    more = f" and {len(listed) - MAX_FINDINGS} more" if len(listed) > MAX_FINDINGS else ""
    require(not listed, "; ".join(listed[:MAX_FINDINGS]) + more)


def check_signing_key(client: Client) -> None:
    """A key can sign, it is in the JWKS, and its signatures verify with the JWKS."""
    try:
        key = key_ring().signing_key()
    except NoSigningKeyError as error:
        message = "there is no valid signing key: run ensure_signing_key, or restore SECRET_KEY"
        raise CheckFailed(message) from error
    published = client.call("GET", "/.well-known/jwks.json", expect=200)["keys"]
    own_jwk = next((jwk for jwk in published if jwk["kid"] == key.kid), None)
    require(own_jwk, f"signing key {key.kid} is not in the JWKS")
    text = jwt.encode({"smoke": True}, key.private, settings.JWT_ALGORITHM)
    try:
        jwt.decode(text, jwt.PyJWK(own_jwk or {}), algorithms=[settings.JWT_ALGORITHM])
    except jwt.InvalidTokenError as error:
        message = f"a signature of {key.kid} does not verify with the JWKS"
        raise CheckFailed(message) from error
