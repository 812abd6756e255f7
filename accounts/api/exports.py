"""The serializers of a data export, and its streamed response."""

import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpResponse, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from audit.api.views import AuditEventResponse

logger = logging.getLogger(__name__)
MAX_BUFFERED_BYTES = 2**20  # a longer export is streamed
_json = JSONRenderer()


class ExportedProfile(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    display_name = serializers.CharField()
    email_verified_at = serializers.DateTimeField(allow_null=True)
    email_undeliverable_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    last_login = serializers.DateTimeField(allow_null=True)


class ExportedSession(serializers.Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    ip_address = serializers.IPAddressField(allow_null=True)
    user_agent = serializers.CharField()
    device = serializers.CharField()


class ExportedEndUserSession(serializers.Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    metadata = serializers.DictField()


class ExportedEmailChange(serializers.Serializer):
    id = serializers.UUIDField()
    old_email = serializers.EmailField()
    new_email = serializers.EmailField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    confirmed_at = serializers.DateTimeField(allow_null=True)
    undone_at = serializers.DateTimeField(allow_null=True)


class ExportedNotice(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    at = serializers.DateTimeField()
    ip_address = serializers.IPAddressField(allow_null=True)
    device = serializers.CharField()


class ExportedEvent(AuditEventResponse):
    email = serializers.CharField()


class ExportResponse(serializers.Serializer):
    profile = ExportedProfile()
    sessions = ExportedSession(many=True)
    end_user_sessions = ExportedEndUserSession(many=True)
    email_changes = ExportedEmailChange(many=True)
    security_notices = ExportedNotice(many=True)
    audit_events = ExportedEvent(many=True)
    address_events = ExportedEvent(
        many=True, help_text="Recorded at your address while no account was found for it."
    )


def export_response(document: Mapping[str, Any]) -> HttpResponse | StreamingHttpResponse:
    """Buffered if it is short, so that an error can still change the status; otherwise streamed."""
    parts, buffer, size = _json_parts(document), [], 0
    for part in parts:
        buffer.append(part)
        size += len(part)
        if size > MAX_BUFFERED_BYTES:
            return StreamingHttpResponse(_until_error(chain(buffer, parts)), content_type=_json.media_type)
    return HttpResponse(b"".join(buffer), content_type=_json.media_type)


def _json_parts(document: Mapping[str, Any]) -> Iterator[bytes]:
    """JSON text; an iterator of lists becomes one array."""
    for number, (name, value) in enumerate(document.items()):
        yield (b"," if number else b"{") + _json.render(name) + b":"
        if isinstance(value, Iterator):
            yield from _array(value)
        else:
            yield _json.render(value)
    yield b"}"


def _array(chunks: Iterator[list[Any]]) -> Iterator[bytes]:
    yield b"["
    for number, chunk in enumerate(chunks):
        yield (b"," if number else b"") + _json.render(chunk)[1:-1]
    yield b"]"


def _until_error(parts: Iterator[bytes]) -> Iterator[bytes]:
    """If the database fails, end the body early. Without its last brace it is not valid JSON."""
    try:
        yield from parts
    except (OperationalError, InterfaceError) as error:
        logger.warning("export aborted", extra={"error": type(error).__name__})
