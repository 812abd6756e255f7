"""Addresses in their stored form only, and a constraint that keeps them so.

Rows from before are converted to what mail was sent to: Django puts a domain on the wire by IDNA2003, and that
mailbox is the one that was proved. So `straße.example` becomes `strasse.example` here, though it is a domain
of its own from now on. An account whose address has no such form, or whose mailbox has another account, keeps
everything but the address, and gets one that nobody can have.
"""

import re
from typing import Any

from django.db import migrations, models

import accounts.email_addresses
from tenancy.operations import without_forced_rls

STORED_FORM = (
    r"^(?=[^@]{1,64}@)(?!.*=\?)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?![0-9]+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?|localhost)$"
)
LONGEST = 254
BOUND = ("EmailVerificationToken", "PasswordResetToken", "EmailChangeToken", "SecurityNotice")


def on_the_wire(address: str) -> str | None:
    """Where mail to `address` went; None if that is no address of the stored form."""
    local, _, domain = address.rpartition("@")
    try:
        sent_to = f"{local}@{domain.encode('idna').decode()}".lower()
    except UnicodeError:
        return None
    return sent_to if len(sent_to) <= LONGEST and re.fullmatch(STORED_FORM, sent_to) else None


def convert(apps: Any, schema_editor: Any) -> None:
    bound = [apps.get_model("accounts", name) for name in BOUND]
    tables = [model._meta.db_table for model in bound]
    with without_forced_rls(schema_editor, "creators", "email_changes", *tables):
        _convert_creators(apps.get_model("accounts", "Creator"), bound, schema_editor.connection.alias)
        _convert_changes(apps.get_model("accounts", "EmailChange"), schema_editor.connection.alias)


def _convert_creators(model: Any, bound: list[Any], alias: str) -> None:
    """And what is bound to their address: links stay alive, notices still arrive."""
    creators = model._base_manager.using(alias)
    odd = creators.exclude(email__regex=STORED_FORM).order_by("created_at")
    for creator_id, email, holds_email in odd.values_list("id", "email", "holds_email"):
        sent_to = on_the_wire(email)
        if holds_email and creators.filter(email=sent_to, holds_email=True).exists():
            sent_to = None
        stored = sent_to or f"{creator_id.hex}@address.invalid"
        creators.filter(pk=creator_id).update(email=stored)
        for other in bound:
            rows = other._base_manager.using(alias).filter(creator_id=creator_id, email=email)
            rows.update(email=stored)


def _convert_changes(model: Any, alias: str) -> None:
    """An undo brings `old_email` back; what has no stored form stays, and can't be brought back."""
    for column in ("old_email", "new_email"):
        changes = model._base_manager.using(alias).exclude(**{f"{column}__regex": STORED_FORM})
        for change_id, email in changes.values_list("id", column):
            changes.filter(pk=change_id).update(**{column: on_the_wire(email) or email})


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_undeliverable_mail")]

    operations = [
        migrations.AlterField(
            model_name="creator",
            name="email",
            field=accounts.email_addresses.AddressField(max_length=254),
        ),
        migrations.RunPython(convert, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="creator",
            constraint=models.CheckConstraint(
                condition=models.Q(email__regex=STORED_FORM), name="creators_email_stored_form"
            ),
        ),
    ]
