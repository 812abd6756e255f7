from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.addresses import canonical_email
from accounts.models import Creator
from accounts.services import lockout


class OperatorBackend(ModelBackend):
    """The admin's sign-in: staff only. Creators sign in at the API, with `services.login`."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> Creator | None:
        if username is None or password is None:
            return None
        try:
            operator: Creator | None = Creator.objects.get_by_natural_key(username)
        except Creator.DoesNotExist:
            operator = None
        if operator is not None and not (operator.is_staff and operator.is_active):
            operator = None
        outcome = lockout.verify_password(
            email=canonical_email(username),
            password=password,
            encoded=operator.password if operator else None,
            door=lockout.Door.ADMIN,
        )
        return operator if outcome.verdict.is_right else None
