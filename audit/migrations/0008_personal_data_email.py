from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """An index by address, for the erasure of what was recorded before the address had an account."""

    atomic = False
    dependencies = [("audit", "0007_bounded_functions")]

    operations = [
        AddIndexConcurrently(
            model_name="personaldata",
            index=models.Index(
                condition=models.Q(("email", ""), _negated=True),
                fields=["email"],
                name="audit_personal_data_email",
            ),
        ),
    ]
