from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

# the first rule, of length, is the one to know beforehand; the others say so when they are broken
_rules = lazy(lambda: password_validators_help_texts()[0], str)


class VerifyEmailForm(forms.Form):
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=_("The one you chose when you signed up."),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class PasswordForm(forms.Form):
    """The password of the account `email`, which password managers look up by the user name."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=_("The one you sign in with."),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, data: Any = None, *, email: str) -> None:
        super().__init__(data)
        self.email = email


class UndoForm(forms.Form):
    confirm = forms.BooleanField(
        label=_("I want my account to have its old address again"),
        error_messages={"required": _("Tick the box to undo the change.")},
    )


class PasswordResetForm(forms.Form):
    email = forms.EmailField(
        label=_("Email address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )


class NewPasswordForm(forms.Form):
    new_password = forms.CharField(
        label=_("New password"),
        strip=False,
        help_text=_rules(),  # type: ignore[no-untyped-call]
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    new_password_again = forms.CharField(
        label=_("New password again"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if len({data.get("new_password"), data.get("new_password_again")}) > 1:
            self.add_error("new_password_again", _("The two passwords are not the same."))
        return data
