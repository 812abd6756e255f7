from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.services.operators import login
from audit.requests.client_info import ClientInfo


def lockout_error(error: AccountLockedError | RateLimitedError) -> ValidationError:
    """When to come back, in a form's words."""
    if isinstance(error, RateLimitedError):
        return ValidationError(_("Too many attempts at once. Try again."), code=error.code)
    sentence = _("Too many wrong attempts. You can try again at %(time)s UTC.")
    time = error.until.strftime("%H:%M:%S")
    return ValidationError(sentence, code=error.code, params={"time": time})


class OperatorSignInForm(AdminAuthenticationForm):
    """Django's, which says when to come back where no password is looked at."""

    # Django's field normalizes to NFKC: what is no address elsewhere would be one here
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


class AnswerForm(forms.Form):
    """One answer, which `judge` looks at; `found` is what came of it, falsy where the answer is wrong."""

    wrong: Any
    found: Any = None

    def __init__(self, data: Any, *, judge: Callable[[str], Any]) -> None:
        super().__init__(data)
        self.judge = judge

    def clean_answer(self) -> None:
        try:
            self.found = self.judge(self.cleaned_data["answer"])
        except (AccountLockedError, RateLimitedError) as error:
            raise lockout_error(error) from error
        if not self.found:
            raise ValidationError(self.wrong, code="wrong")


class CodeInput(forms.PasswordInput):
    """Shown while it is typed, and empty again after a wrong one."""

    input_type = "text"


class CodeForm(AnswerForm):
    """A code of an app, which may be written in groups."""

    wrong = _lazy("This code is wrong, or was used before. Wait for the next one.")
    answer = forms.CharField(
        label=_lazy("Code"),
        max_length=40,
        widget=CodeInput(attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}),
    )

    def clean_answer(self) -> None:
        self.cleaned_data["answer"] = "".join(self.cleaned_data["answer"].split())
        super().clean_answer()


class ConfirmForm(AnswerForm):
    wrong = _lazy("This is neither your password nor a code that your app shows now.")
    answer = forms.CharField(
        label=_lazy("Password or code"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class OperatorPasswordChangeForm(AdminPasswordChangeForm):
    """Django's; the old password counts as at the sign-in, and the book and the mail tell of the new one."""

    def __init__(self, *args: Any, client: ClientInfo, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.client = client

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        try:
            if login.confirm_password(self.user, password=password, client=self.client):
                return password
        except (AccountLockedError, RateLimitedError) as error:
            raise lockout_error(error) from error
        raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")

    def save(self, commit: bool = True) -> Any:  # noqa: FBT001, FBT002  Django's
        login.change_password(self.user, new_password=self.cleaned_data["new_password1"], client=self.client)
        return self.user
