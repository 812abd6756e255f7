"""Request and response bodies: their form only. Rules and saving are in the services."""

import json
from typing import Any
from uuid import UUID

from django.core.validators import MaxLengthValidator, MinLengthValidator
from django.utils.functional import lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from accounts.email_addresses import canonical_email, display_email
from accounts.models import Session
from accounts.models.sessions import METADATA_BYTES
from accounts.services.end_users import stored_bytes
from accounts.sql import Caller


class Text(serializers.CharField):
    """A JSON string, not trimmed. Unlike CharField it refuses numbers and booleans."""

    def __init__(self, *, trim_whitespace: bool = False, **options: Any) -> None:
        if not options.get("allow_blank"):
            options.setdefault("min_length", 1)  # for the schema
        super().__init__(trim_whitespace=trim_whitespace, **options)
        # the parsers refuse surrogates already, and this validator loops over the characters in Python
        self.validators = [
            validator
            for validator in self.validators
            if not isinstance(validator, ProhibitSurrogateCharactersValidator)
        ]
        for validator in self.validators:
            if isinstance(validator, MaxLengthValidator | MinLengthValidator):
                validator.message = self._length_message(validator.code, validator.limit_value)

    def _length_message(self, code: str, limit: Any) -> Any:
        """Formatted for each error. DRF's keeps the language of the first, and `validated` shares fields."""
        return lazy(lambda: str(self.error_messages[code]).format(**{code: limit}), str)()

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Password(Text):
    def __init__(self, **options: Any) -> None:
        super().__init__(style={"input_type": "password"}, **options)


class Id(serializers.UUIDField):
    """A UUID in a JSON string. DRF would accept a number, and true as 1."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


@extend_schema_field({"type": "string", "format": "email", "maxLength": 254})
class Address(Text):
    """An email address; the value is its canonical form."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=True, **options)

    def to_internal_value(self, data: Any) -> str:
        return canonical_email(super().to_internal_value(data))


class RegisterRequest(serializers.Serializer):
    email = Address()
    password = Password()
    display_name = Text(max_length=100, trim_whitespace=True, required=False, default="", allow_blank=True)


class VerifyEmailRequest(serializers.Serializer):
    uid = Text(max_length=64)
    token = Text(max_length=128)
    password = Password()


class EmailRequest(serializers.Serializer):
    email = Address()


class LoginRequest(serializers.Serializer):
    email = Address()
    password = Password()


class RefreshRequest(serializers.Serializer):
    refresh = Text()


class PasswordValidateRequest(serializers.Serializer):
    password = Password()
    email = Address(required=False, default="", allow_blank=True)


class PasswordValidateResponse(serializers.Serializer):
    is_valid = serializers.BooleanField()  # type: ignore[assignment]
    suggestions = serializers.ListField(child=serializers.CharField())


class PasswordResetConfirmRequest(serializers.Serializer):
    uid = Text(max_length=64)
    token = Text(max_length=128)
    new_password = Password()


class PasswordChangeRequest(serializers.Serializer):
    current_password = Password()
    new_password = Password()


class ProfileRequest(serializers.Serializer):
    display_name = Text(max_length=100, trim_whitespace=True, allow_blank=True, required=False)


class PasswordRequest(serializers.Serializer):
    password = Password()


class EmailChangeRequest(serializers.Serializer):
    new_email = Address()
    password = Password()


class LinkRequest(serializers.Serializer):
    uid = Text(max_length=64)
    token = Text(max_length=128)


class TokenRequest(serializers.Serializer):
    token = Text()
    token_type_hint = Text(required=False, allow_blank=True)  # empty is omitted (RFC 6749 § 3.2)


class OpenEndUserSessionRequest(serializers.Serializer):
    creator = Id()
    metadata = serializers.DictField(required=False, default=dict)

    def validate_metadata(self, value: dict[str, Any]) -> dict[str, Any]:
        if stored_bytes(value) > METADATA_BYTES:
            raise serializers.ValidationError("At most 4 KiB.", code="max_length")
        text = json.dumps(value, ensure_ascii=False)
        if r"\u0000" in text.replace(r"\\", ""):  # an escaped NUL, not an escaped backslash before "u0000"
            raise serializers.ValidationError("NUL is not allowed.", code="null_characters_not_allowed")
        return value


class OpenEndUserSessionResponse(serializers.Serializer):
    session = serializers.CharField(help_text="The end user's bearer token.")
    session_id = serializers.UUIDField()
    expires_at = serializers.DateTimeField()


class EndUserSessionResponse(serializers.Serializer):
    id = serializers.UUIDField()
    creator = serializers.UUIDField(source="creator_id")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    metadata = serializers.DictField()


class SessionResponse(serializers.Serializer):
    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(help_text="The last sign-in or refresh.")
    ip_address = serializers.IPAddressField(allow_null=True)
    user_agent = serializers.CharField()
    device = serializers.CharField()
    current = serializers.SerializerMethodField()

    def get_current(self, session: Session) -> bool:
        is_current: bool = session.pk == self.context["request"].user.session_id
        return is_current


class IntrospectResponse(serializers.Serializer):
    active = serializers.BooleanField()
    sub = serializers.UUIDField(required=False)
    sid = serializers.UUIDField(required=False)
    exp = serializers.IntegerField(required=False)
    iat = serializers.IntegerField(required=False)
    jti = serializers.UUIDField(required=False)
    token_type = serializers.CharField(required=False)
    iss = serializers.CharField(required=False)
    aud = serializers.CharField(required=False)


class TokenPairResponse(serializers.Serializer):
    access = serializers.CharField()
    refresh = serializers.CharField()
    token_type = serializers.CharField(default="Bearer")
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")
    refresh_expires_in = serializers.IntegerField(help_text="Seconds until the session ends.")


class ProfileResponse(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    display_name = serializers.CharField()
    email_verified = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    last_login_at = serializers.DateTimeField(allow_null=True)
    email_undeliverable = serializers.BooleanField(
        required=False, help_text="True if email to the address bounces; otherwise absent."
    )


_PROFILE = tuple(ProfileResponse().fields)


def profile_of(caller: Caller) -> dict[str, Any]:
    """A ProfileResponse, built without the serializer because `me` is the most requested endpoint."""
    profile = {name: getattr(caller, name) for name in _PROFILE} | {"email": display_email(caller.email)}
    if not caller.email_undeliverable:
        del profile["email_undeliverable"]
    return profile


class JWK(serializers.Serializer):
    """A public key (RFC 7517). Its other members depend on `kty`."""

    kty = serializers.CharField()
    kid = serializers.CharField()
    use = serializers.CharField()
    alg = serializers.CharField()


class JWKSResponse(serializers.Serializer):
    keys = JWK(many=True)


class HealthResponse(serializers.Serializer):
    status = serializers.CharField()


class DetailResponse(serializers.Serializer):
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
