from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.forms import AddressField
from accounts.services.operators import login
from audit.requests.client_info import ClientInfo


def lockout_error(error: AccountLockedError | RateLimitedError) -> ValidationError:
    if isinstance(error, RateLimitedError):
        return ValidationError(_("Too many attempts at once. Try again."), code=error.code)
    message = _("Too many wrong attempts. You can try again at %(time)s UTC.")
    time = error.until.strftime("%H:%M:%S")
    return ValidationError(message, code=error.code, params={"time": time})


class OperatorSignInForm(AdminAuthenticationForm):
    """Django's form, with an error that says when a locked operator can try again."""

    # Django's field normalizes to NFKC, which would turn some invalid addresses into valid ones
    username = forms.CharField(
        widget=forms.TextInput(
            attrs={"autofocus": True, "autocapitalize": "none", "autocomplete": "username"}
        )
    )

    def clean(self) -> dict[str, Any]:
        try:
            return super().clean()
        except (AccountLockedError, RateLimitedError) as error:
            raise lockout_error(error) from error


class CredentialForm(forms.Form):
    """A password or code, which the view verifies."""

    error_message: Any

    def add_credential_error(self) -> None:
        self.add_error("credential", ValidationError(self.error_message, code="wrong"))

    @contextmanager
    def lockout_as_error(self) -> Iterator[None]:
        """Turn a lockout into an error of the form."""
        try:
            yield
        except (AccountLockedError, RateLimitedError) as error:
            self.add_error("credential", lockout_error(error))


class CodeInput(forms.PasswordInput):
    """Shows the code while it is typed, but not again after a wrong one."""

    input_type = "text"


class CodeForm(CredentialForm):
    error_message = _lazy("This code is wrong, or was used before. Wait for the next one.")
    credential = forms.CharField(
        label=_lazy("Code"),
        max_length=40,
        widget=CodeInput(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )

    def clean_credential(self) -> str:
        """Remove spaces: apps show codes in groups."""
        return "".join(self.cleaned_data["credential"].split())


class ReauthenticationForm(CredentialForm):
    error_message = _lazy("This is neither your password nor a code that your app shows now.")
    credential = forms.CharField(
        label=_lazy("Password or code"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class OperatorPasswordChangeForm(AdminPasswordChangeForm):
    """Django's form; wrong old passwords count towards the lockout, and the change is recorded and mailed."""

    def __init__(self, *args: Any, client: ClientInfo, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client = client

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        try:
            if login.verify_password(self.user, password=password, client=self.client):
                return password
        except (AccountLockedError, RateLimitedError) as error:
            raise lockout_error(error) from error
        raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002  Django's
        login.change_password(self.user, new_password=self.cleaned_data["new_password1"], client=self.client)
        return self.user


class JustificationForm(forms.Form):
    reason = forms.CharField(
        label=_lazy("Why are you opening this account?"),
        help_text=_lazy(
            "For example a ticket number. The creator can read it, and it is kept permanently: give no names "
            "and no addresses."
        ),
        validators=[MinLengthValidator(10)],
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if "@" in reason or not reason.isprintable():
            raise ValidationError(_("Use plain text without email addresses."), code="not_plain")
        return reason


class ConfirmationForm(forms.Form):
    """Has no fields: sending it is the confirmation."""

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email


class DeletionForm(ConfirmationForm):
    typed = AddressField(
        label=_lazy("Type the email address of the account"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "spellcheck": "false"}),
    )

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self.email:
            raise ValidationError(_("That is not the address of this account."), code="other_address")
        return typed
