"""Email addresses: validation, the stored form and the displayed form.

Addresses are stored, compared and sent as `local@domain` in lower-case ASCII: an RFC 5321 Dot-string and a
domain of A-labels (IDNA2008, mapped by UTS 46 without transitional processing). Quoted local parts, address
literals and SMTPUTF8 (RFC 6531) are not supported.
"""

import re
from typing import Any

import idna
from django.contrib.postgres.search import SearchVectorField
from django.core.exceptions import ValidationError
from django.db.models import EmailField, Func
from django.utils.translation import gettext_lazy as _

SEPARATORS = ".-_+@"  # between the parts of an address
MAX_LENGTH, MAX_LOCAL_LENGTH, MAX_LABEL_LENGTH = 254, 64, 63  # octets (RFC 5321 § 4.5.3.1, RFC 1035 § 2.3.4)
ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A fully qualified domain name; no top-level domain is numeric (RFC 3696 § 2). `localhost`: for development.
DOMAIN = rf"(?:(?:{LABEL}\.)+(?![0-9]+$){LABEL}|localhost)"
# Python and PostgreSQL match it alike. `=?` starts an encoded word (RFC 2047), which mail libraries decode.
STORED_FORM = rf"^(?=[^@]{{1,{MAX_LOCAL_LENGTH}}}@)(?!.*=\?){ATOM}(?:\.{ATOM})*@{DOMAIN}$"
REASONS = {
    "malformed": _("Enter a valid email address."),
    "local_part": _(
        "Before the @, use letters, digits and !#$%&'*+/=?^_`{|}~-, and a dot only between two of them."
    ),
    "local_part_not_ascii": _(
        "Before the @, only ASCII characters are possible: others need SMTPUTF8, which isn’t used here."  # noqa: RUF001
    ),
    "local_part_too_long": _("There are more than 64 characters before the @."),
    "encoded_word": _("Before the @, there can’t be “=?”."),  # noqa: RUF001
    "domain": _("After the @, there is no valid domain name."),
    "invisible": _("After the @, there is an invisible character."),
    "label_too_long": _("After the @, a part of the domain name is longer than 63 characters."),
    "too_long": _("The address is longer than 254 characters."),
}


class InvalidAddressError(ValidationError):
    """The text is not a supported address. `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason], code="invalid")
        self.reason = reason


def canonical_email(text: str) -> str:
    """The form in which an address is stored, compared and mailed to; raises InvalidAddressError."""
    local, at, domain = text.strip().rpartition("@")
    if not at:
        raise InvalidAddressError("malformed")
    stored = f"{_local_part(local)}@{_domain(domain)}"
    if len(stored) > MAX_LENGTH:
        raise InvalidAddressError("too_long")
    return stored


def display_email(stored: str) -> str:
    """The address with U-labels if `canonical_email` maps it back to `stored`, else `stored`."""
    local, _at, domain = stored.rpartition("@")
    if "xn--" not in domain:
        return stored
    try:
        displayed = f"{local}@{'.'.join(idna.ulabel(label) for label in domain.split('.'))}"
        return displayed if canonical_email(displayed) == stored else stored
    except (idna.IDNAError, InvalidAddressError):
        return stored


def search_word(word: str) -> str:
    """The stored form of a part of an address. Non-ASCII labels must be complete to be found.

    Raises InvalidAddressError if no address can contain the part.
    """
    local, at, domain = word.rpartition("@")
    if not local.isascii():
        raise InvalidAddressError("local_part_not_ascii")
    return f"{local.lower()}{at}{a_labels(domain)}"


def a_labels(domain: str) -> str:
    """The domain, or a part of one, in lower-case ASCII; raises InvalidAddressError."""
    if len(domain) > MAX_LENGTH:
        raise InvalidAddressError("too_long")
    try:
        if any(not character.isascii() and not idna.uts46_remap(character) for character in domain):
            raise InvalidAddressError("invisible")  # UTS 46 would drop the character
        labels = idna.uts46_remap(domain, std3_rules=False).split(".")
        return ".".join(_a_label(label) for label in labels)
    except idna.IDNAError as error:
        raise InvalidAddressError("label_too_long" if error.code == "label_too_long" else "domain") from error


def _a_label(label: str) -> str:
    """Convert a label; an ASCII label is returned as it is unless it has the prefix of an A-label."""
    if label.isascii() and not label.startswith("xn--"):
        return label
    return idna.alabel(label).decode()


def _local_part(local: str) -> str:
    if not local.isascii():
        raise InvalidAddressError("local_part_not_ascii")
    if len(local) > MAX_LOCAL_LENGTH:
        raise InvalidAddressError("local_part_too_long")
    if "=?" in local:
        raise InvalidAddressError("encoded_word")
    local = local.lower()
    if not re.fullmatch(rf"{ATOM}(?:\.{ATOM})*", local):
        raise InvalidAddressError("local_part")
    return local


def _domain(domain: str) -> str:
    domain = a_labels(domain)
    if any(len(label) > MAX_LABEL_LENGTH for label in domain.split(".")):
        raise InvalidAddressError("label_too_long")
    if not re.fullmatch(DOMAIN, domain):
        raise InvalidAddressError("domain")
    return domain


class AddressField(EmailField):
    """A column of stored addresses. `clean` rejects text that is not an address."""

    default_validators: Any = (canonical_email,)


class AddressParts(Func):
    """The parts of an address as a tsvector, for prefix search.

    Not `to_tsvector`: its parser keeps addresses and numbers in one piece. Empty parts (`a..b`) are removed,
    because `array_to_tsvector` raises an error for them.
    """

    template = (
        "array_to_tsvector(array_remove(string_to_array("
        f"translate(%(expressions)s, '{SEPARATORS}', '{' ' * len(SEPARATORS)}'), ' '), ''))"
    )
    output_field = SearchVectorField()
