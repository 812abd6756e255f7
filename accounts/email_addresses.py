"""E-mail addresses: one grammar, one stored form, one form to show.

Stored, compared and put on the wire is `local@domain` in lower-case ASCII: an RFC 5321 Dot-string and a
domain of A-labels (IDNA2008, mapped by UTS 46 without its transitional part). Quoted local parts, address
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
LONGEST, LONGEST_LOCAL, LONGEST_LABEL = 254, 64, 63  # octets (RFC 5321 § 4.5.3.1, RFC 1035 § 2.3.4)
ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A fully qualified name: no top-level domain is a number (RFC 3696 § 2). `localhost` is for development.
DOMAIN = rf"(?:(?:{LABEL}\.)+(?![0-9]+$){LABEL}|localhost)"
# Python and PostgreSQL read it alike. `=?` begins an encoded word (RFC 2047), which mail libraries decode.
STORED_FORM = rf"^(?=[^@]{{1,{LONGEST_LOCAL}}}@)(?!.*=\?){ATOM}(?:\.{ATOM})*@{DOMAIN}$"
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
    """Not an address of our grammar; `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason], code="invalid")
        self.reason = reason


def canonical_email(text: str) -> str:
    """The one form in which an address is stored, compared and mailed to; raises InvalidAddressError."""
    local, at, domain = text.strip().rpartition("@")
    if not at:
        raise InvalidAddressError("malformed")
    stored = f"{_local_part(local)}@{_domain(domain)}"
    if len(stored) > LONGEST:
        raise InvalidAddressError("too_long")
    return stored


def display_email(stored: str) -> str:
    """The address with U-labels, if these lead back to exactly `stored`; else as it is stored."""
    local, _at, domain = stored.rpartition("@")
    if "xn--" not in domain:
        return stored
    try:
        shown = f"{local}@{'.'.join(idna.ulabel(label) for label in domain.split('.'))}"
        return shown if canonical_email(shown) == stored else stored
    except (idna.IDNAError, InvalidAddressError):
        return stored


def search_word(word: str) -> str:
    """A part of an address as it would be stored: of one that is not ASCII, whole labels are found.

    Raises InvalidAddressError: no address has such a part.
    """
    local, at, domain = word.rpartition("@")
    if not local.isascii():
        raise InvalidAddressError("local_part_not_ascii")
    return f"{local.lower()}{at}{a_labels(domain)}"


def a_labels(domain: str) -> str:
    """The domain, or a part of one, in lower case and ASCII; raises InvalidAddressError."""
    if len(domain) > LONGEST:
        raise InvalidAddressError("too_long")
    try:
        if any(not character.isascii() and not idna.uts46_remap(character) for character in domain):
            raise InvalidAddressError("invisible")  # UTS 46 would drop it: one domain, many spellings
        labels = idna.uts46_remap(domain, std3_rules=False).split(".")
        return ".".join(_a_label(label) for label in labels)
    except idna.IDNAError as error:
        raise InvalidAddressError("label_too_long" if error.code == "label_too_long" else "domain") from error


def _a_label(label: str) -> str:
    """An ASCII label is left alone, save one that claims to be an A-label."""
    if label.isascii() and not label.startswith("xn--"):
        return label
    return idna.alabel(label).decode()


def _local_part(local: str) -> str:
    if not local.isascii():
        raise InvalidAddressError("local_part_not_ascii")
    if len(local) > LONGEST_LOCAL:
        raise InvalidAddressError("local_part_too_long")
    if "=?" in local:
        raise InvalidAddressError("encoded_word")
    local = local.lower()
    if not re.fullmatch(rf"{ATOM}(?:\.{ATOM})*", local):
        raise InvalidAddressError("local_part")
    return local


def _domain(domain: str) -> str:
    domain = a_labels(domain)
    if any(len(label) > LONGEST_LABEL for label in domain.split(".")):
        raise InvalidAddressError("label_too_long")
    if not re.fullmatch(DOMAIN, domain):
        raise InvalidAddressError("domain")
    return domain


class AddressField(EmailField):
    """A column of stored addresses; `clean` refuses what has no stored form."""

    default_validators: Any = (canonical_email,)


class AddressParts(Func):
    """The parts of an address, as PostgreSQL's text search finds them by their beginnings.

    Put together by hand, since its parser takes addresses and numbers for units of their own. An
    empty part (`a..b`) would be an error.
    """

    template = (
        "array_to_tsvector(array_remove(string_to_array("
        f"translate(%(expressions)s, '{SEPARATORS}', '{' ' * len(SEPARATORS)}'), ' '), ''))"
    )
    output_field = SearchVectorField()
