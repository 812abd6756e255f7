from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import password_validators_help_texts
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

from accounts.passwords.validators import MAXIMUM_LENGTH

from .email_addresses import canonical_email

# The first validator checks the length. The rules of the others are shown only in their error messages.
_length_help_text = lazy(lambda: password_validators_help_texts()[0], str)
# for the generators of password managers; `passwordrules` is Apple's
NEW_PASSWORD = {
    "autocomplete": "new-password",
    "minlength": settings.PASSWORD_MIN_LENGTH,
    "maxlength": MAXIMUM_LENGTH,
    "passwordrules": f"minlength: {settings.PASSWORD_MIN_LENGTH}; maxlength: {MAXIMUM_LENGTH};",
}


class AddressField(forms.CharField):
    """An address in any spelling; the cleaned value is its stored form."""

    widget = forms.EmailInput

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return canonical_email(text) if text else ""


class PasswordForm(forms.Form):
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, help_text: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = help_text


class UndoForm(forms.Form):
    confirm = forms.BooleanField(
        label=_("I want my account to have its old address again"),
        error_messages={"required": _("Tick the box to undo the change.")},
    )


class PasswordResetForm(forms.Form):
    email = AddressField(
        label=_("Email address"),
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )


class NewPasswordForm(forms.Form):
    new_password = forms.CharField(
        label=_("New password"),
        strip=False,
        help_text=_length_help_text(),  # type: ignore[no-untyped-call]
        widget=forms.PasswordInput(attrs=NEW_PASSWORD),
    )
    new_password_again = forms.CharField(
        label=_("New password again"),
        strip=False,
        widget=forms.PasswordInput(attrs=NEW_PASSWORD),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if len({data.get("new_password"), data.get("new_password_again")}) > 1:
            self.add_error("new_password_again", _("The two passwords are not the same."))
        return data
