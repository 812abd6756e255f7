"""The form of what comes in and goes out; no rules, no saving."""

from typing import Any

from rest_framework import serializers

from accounts.addresses import canonical_email

_PASSWORD: dict[str, Any] = {"trim_whitespace": False, "style": {"input_type": "password"}}


class Address(serializers.EmailField):
    """Checked as it is stored: the canonical form can be longer than what was typed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=254, **options)

    def to_internal_value(self, data: Any) -> str:
        return canonical_email(super().to_internal_value(data))


class RegisterRequest(serializers.Serializer):
    email = Address()
    password = serializers.CharField(**_PASSWORD)
    display_name = serializers.CharField(max_length=100, required=False, default="", allow_blank=True)


class VerifyEmailRequest(serializers.Serializer):
    uid = serializers.CharField(max_length=64)
    token = serializers.CharField(max_length=128)
    password = serializers.CharField(**_PASSWORD)


class EmailRequest(serializers.Serializer):
    email = Address()


class LoginRequest(serializers.Serializer):
    email = Address()
    password = serializers.CharField(**_PASSWORD)


class RefreshRequest(serializers.Serializer):
    refresh = serializers.CharField()


class PasswordValidateRequest(serializers.Serializer):
    password = serializers.CharField(**_PASSWORD)
    email = serializers.EmailField(max_length=254, required=False, default="", allow_blank=True)


class PasswordValidateAnswer(serializers.Serializer):
    is_valid = serializers.BooleanField()  # type: ignore[assignment]
    suggestions = serializers.ListField(child=serializers.CharField())


class PasswordResetConfirmRequest(serializers.Serializer):
    uid = serializers.CharField(max_length=64)
    token = serializers.CharField(max_length=128)
    new_password = serializers.CharField(**_PASSWORD)


class PasswordChangeRequest(serializers.Serializer):
    current_password = serializers.CharField(**_PASSWORD)
    new_password = serializers.CharField(**_PASSWORD)


class ProfileRequest(serializers.Serializer):
    display_name = serializers.CharField(max_length=100, allow_blank=True, required=False)


class TokenPairAnswer(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()
    token_type = serializers.CharField(default="Bearer")
    expires_in = serializers.IntegerField(help_text="Seconds the access token lives.")
    refresh_expires_in = serializers.IntegerField(help_text="Seconds until the session ends.")


class ProfileAnswer(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    display_name = serializers.CharField()
    email_verified = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    last_login_at = serializers.DateTimeField(allow_null=True)


class DetailAnswer(serializers.Serializer):
    detail = serializers.CharField()


class FieldError(serializers.Serializer):
    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class Problem(serializers.Serializer):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = FieldError(many=True, required=False)  # type: ignore[assignment]
