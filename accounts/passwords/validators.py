"""Password rules; pwned.py has the one that queries HaveIBeenPwned."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .hashers import normalize

MAXIMUM_LENGTH = 128  # characters; longer passwords are never hashed


class LengthValidator:
    """Counts characters after NFC: at least PASSWORD_MIN_LENGTH, at most 128 (NIST SP 800-63B-4 § 3.1.1)."""

    def __init__(self, min_length: int) -> None:
        self.min_length = min_length

    def validate(self, password: str, user: Any = None) -> None:
        length = len(normalize(password))
        if length < self.min_length:
            message = ngettext(
                "Use at least %(length)d character.", "Use at least %(length)d characters.", self.min_length
            )
            raise ValidationError(message, code="password_too_short", params={"length": self.min_length})
        if length > MAXIMUM_LENGTH:
            raise ValidationError(
                _("Use at most %(length)d characters."),
                code="password_too_long",
                params={"length": MAXIMUM_LENGTH},
            )

    def get_help_text(self) -> str:
        return _("Use at least %(length)d characters; a sentence is a good password.") % {
            "length": self.min_length
        }


class ContextValidator:
    """Refuses passwords made mostly of the service's own words (NIST SP 800-63B-4: context-specific)."""

    WORDS = frozenset({"account", "accounts", "admin", "creator", "creators", "login", "password", "welcome"})
    MINIMUM_OTHER_LETTERS = 5

    def validate(self, password: str, user: Any = None) -> None:
        rest = password.casefold()
        for word in sorted(self.WORDS | _service_names(), key=len, reverse=True):
            rest = rest.replace(word, "")
        if rest != password.casefold() and sum(c.isalpha() for c in rest) < self.MINIMUM_OTHER_LETTERS:
            raise ValidationError(self.get_help_text(), code="password_of_the_service")

    def get_help_text(self) -> str:
        return _("Don’t build the password from the name of this service.")  # noqa: RUF001


def _service_names() -> set[str]:
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    return {word for word in {*settings.SERVICE_NAME.casefold().split(), *host.split(".")} if len(word) > 3}  # noqa: PLR2004
