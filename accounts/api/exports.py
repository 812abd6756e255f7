"""The form of all that is held about a creator."""

from rest_framework import serializers

from audit.views import AuditEventAnswer


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


class ExportedEndUserSession(serializers.Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    metadata = serializers.DictField()


class ExportedNotice(serializers.Serializer):
    kind = serializers.CharField()
    at = serializers.DateTimeField()
    ip_address = serializers.IPAddressField(allow_null=True)
    device = serializers.CharField()


class ExportAnswer(serializers.Serializer):
    profile = ExportedProfile()
    sessions = ExportedSession(many=True)
    end_user_sessions = ExportedEndUserSession(many=True)
    security_notices = ExportedNotice(many=True)
    audit_events = AuditEventAnswer(many=True)
