"""What the database itself says: the role, the walls, the keys."""

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

from .client import CheckFailed, Service, require

SHOWN = 3  # findings, in one line
LONGEST_WAIT = 300  # seconds; sealing takes less than two minutes


def role_is_bound() -> None:
    _require_none(chain(version_findings(DEFAULT_DB_ALIAS), role_findings(DEFAULT_DB_ALIAS)))


def isolation_is_as_declared() -> None:
    _require_none(chain(table_findings(DEFAULT_DB_ALIAS), catalog_findings(DEFAULT_DB_ALIAS)))


def isolation_holds() -> None:
    """Every read, write and move across tenants is tried, and what no tenant may do."""
    _require_none(privilege_findings(DEFAULT_DB_ALIAS))
    _require_none(chain.from_iterable(report.findings() for report in probe(DEFAULT_DB_ALIAS)))


def audit_log_is_sealed() -> None:
    """As far as a quick look tells; `verify_audit` reads all of it."""
    waiting = waiting_seconds()
    require(waiting < LONGEST_WAIT, f"audit events wait for their seal since {waiting:.0f} s")


def _require_none(findings: Iterator[str]) -> None:
    found = list(findings)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    require(not found, "; ".join(found[:SHOWN]) + more)


def a_key_can_sign(service: Service) -> None:
    """There is a signing key, it is published, and what it signs verifies by what is published."""
    try:
        key = key_ring().signing_key()
    except NoSigningKeyError as error:
        message = "no valid signing key is left: run ensure_signing_key, or mend SECRET_KEY"
        raise CheckFailed(message) from error
    published = service.call("GET", "/.well-known/jwks.json", expect=200)["keys"]
    own = next((jwk for jwk in published if jwk["kid"] == key.kid), None)
    require(own, f"signing key {key.kid} is not in the JWKS")
    text = jwt.encode({"smoke": True}, key.private, settings.JWT_ALGORITHM)
    try:
        jwt.decode(text, jwt.PyJWK(own or {}), algorithms=[settings.JWT_ALGORITHM])
    except jwt.InvalidTokenError as error:
        message = f"what {key.kid} signs does not verify by the JWKS"
        raise CheckFailed(message) from error
