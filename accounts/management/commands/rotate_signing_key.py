from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from accounts.services.signing_keys import rotate_signing_key
from tenancy.commands import OperatorCommand


class Command(OperatorCommand):
    help = "Publish a new signing key; it takes over once every cached JWKS has it."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.JWT_SECRET_KEY:
            message = "JWT_SECRET_KEY is set: put it into JWT_RETIRED_KEYS, and a new key in its place"
            raise CommandError(message)
        kid = rotate_signing_key()
        minutes = settings.JWKS_MAX_AGE.total_seconds() // 60
        self.stdout.write(f"{kid} is published and signs in {minutes:.0f} minutes, if it is not the first.")
