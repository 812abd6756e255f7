"""One-time links in emails: `<uid>/<token>`. The database stores only a digest of the token."""

import hashlib
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from accounts.exceptions import InvalidLinkError

TOKEN_BYTES = 32


@dataclass(frozen=True)
class Link:
    """`token` is the secret: it is mailed and never stored or logged."""

    creator_id: UUID
    token: str = field(repr=False)

    @property
    def uid(self) -> str:
        return urlsafe_base64_encode(self.creator_id.bytes)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.token.encode()).digest()

    def url(self, view: str) -> str:
        """The absolute URL, built from PUBLIC_URL and never from a Host header."""
        return f"{settings.PUBLIC_URL}{reverse(view, args=[self.uid, self.token])}"


def new(creator_id: UUID) -> Link:
    return Link(creator_id, secrets.token_urlsafe(TOKEN_BYTES))


def parse(uid: str, token: str) -> Link:
    """Raises InvalidLinkError if `uid` or `token` is malformed. Whether the link is valid is not checked."""
    try:
        link = Link(UUID(bytes=urlsafe_base64_decode(uid)), token)
    except ValueError as error:
        raise InvalidLinkError from error
    if link.uid != uid or not token.isascii():
        raise InvalidLinkError
    return link
