"""What was mailed before links were bound to a state of their account: bound to its present state.

A migration of its own: PostgreSQL checks a new foreign key as the owner, who sees no rows under FORCE.
"""

from typing import Any

from django.db import migrations, models

from tenancy.operations import without_forced_rls

TABLES = (
    "creators", "email_changes", "email_change_tokens", "email_verification_tokens", "password_reset_tokens",
    "security_notices",
)  # fmt: skip

# Links that are on their way stay good for the account as it is now.
FILL = """
UPDATE email_verification_tokens t SET email = c.email FROM creators c WHERE c.id = t.creator_id;
UPDATE password_reset_tokens t SET email = c.email FROM creators c WHERE c.id = t.creator_id;
UPDATE security_notices n SET email = c.email FROM creators c WHERE c.id = n.creator_id;
UPDATE email_changes e SET number = counted.number FROM (
    SELECT id, row_number() OVER (PARTITION BY creator_id ORDER BY created_at, id) AS number FROM email_changes
) counted WHERE counted.id = e.id;
INSERT INTO email_change_tokens
    (id, creator_id, change_id, purpose, digest, email, recovery_generation, created_at, expires_at)
SELECT gen_random_uuid(), creator_id, id, purpose, digest, old_email, 0, created_at, expires
FROM email_changes, LATERAL (
    VALUES ('confirm', confirm_digest, expires_at), ('undo', undo_digest, undo_expires_at)
) link (purpose, digest, expires) WHERE digest IS NOT NULL;
"""


def fill(apps: Any, schema_editor: Any) -> None:
    with without_forced_rls(schema_editor, *TABLES):
        schema_editor.execute(FILL)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0012_one_time_links")]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RemoveField("emailchange", "confirm_digest"),
        migrations.RemoveField("emailchange", "undo_digest"),
        migrations.AddConstraint(
            "emailchange",
            models.UniqueConstraint(fields=["creator", "number"], name="email_changes_in_order"),
        ),
    ]
