"""What stands on the buttons of a creator's page, and who may press them; `services.support` does it."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.forms import AddressField


@dataclass(frozen=True)
class ActionText:
    permission: str
    label: Promise
    meaning: Promise  # what will happen, before the last click
    done: Promise
    is_dangerous: bool = False  # wants step-up


ACTION_TEXTS = {
    "lift_lock": ActionText(
        "lift_lock",
        _("Lift the lock"),
        _("Wrong passwords are counted from nought again; signing in works at once."),
        _("The lock is lifted."),
    ),
    "end_sessions": ActionText(
        "end_sessions",
        _("End all sessions"),
        _("The creator is signed out on every device at once, and gets a mail about it."),
        _("All sessions are ended."),
    ),
    "send_reset": ActionText(
        "send_reset",
        _("Send a reset mail"),
        _("A mail with a link to choose a new password goes to the address of the account."),
        _("The mail is on its way."),
    ),
    "mark_verified": ActionText(
        "mark_verified",
        _("Mark the address as verified"),
        _(
            "Whoever signed up here owns the account of this address from now on, without proof that the "
            "mailbox is theirs. Their password opens it; other sign-ups for the address come to nothing."
        ),
        _("The address is verified."),
        is_dangerous=True,
    ),
    "deactivate": ActionText(
        "deactivate_creator",
        _("Deactivate"),
        _(
            "Nobody can sign in to the account any more. All its sessions end at once, those of its visitors "
            "too. The creator gets a mail about it."
        ),
        _("The account is deactivated."),
        is_dangerous=True,
    ),
    "reactivate": ActionText(
        "deactivate_creator",
        _("Reactivate"),
        _("The creator can sign in again, and gets a mail about it. Ended sessions stay ended."),
        _("The account is active again."),
        is_dangerous=True,
    ),
    "delete": ActionText(
        "delete_creator",
        _("Delete the account"),
        _(
            "The account and all that belongs to it are gone for good. Only its audit events stay, without "
            "personal data."
        ),
        _("The account is deleted."),
        is_dangerous=True,
    ),
}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Why do you open this account?"),
        help_text=_(
            "For example the number of the ticket. The creator reads it, and it is kept for ever: no names, "
            "no addresses."
        ),
        validators=[MinLengthValidator(10)],
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if "@" in reason or not reason.isprintable():
            raise ValidationError(_("Plain words, please, without addresses."), code="not_plain")
        return reason


class ConfirmationForm(forms.Form):
    """Nothing to fill in: posting it is the second click."""

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email


class DeletionForm(ConfirmationForm):
    typed = AddressField(
        label=_("Type the email address of the account"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True, "spellcheck": "false"}),
    )

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self.email:
            raise ValidationError(_("That is not the address of this account."), code="other_address")
        return typed
