from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from accounts.services.signing_keys import rotate_signing_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Publish a new signing key. It starts signing when every cached JWKS contains it."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.JWT_SECRET_KEY:
            message = "JWT_SECRET_KEY is set: move it to JWT_RETIRED_KEYS and set a new one"
            raise CommandError(message)
        kid = rotate_signing_key()
        minutes = settings.JWKS_MAX_AGE.total_seconds() // 60
        self.stdout.write(f"Published {kid}. It signs in {minutes:.0f} minutes, or now if it is the first.")
