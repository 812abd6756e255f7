from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.models import Creator
from accounts.services import passwords


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
        verdict = passwords.verify(password, operator.password if operator else None)
        return operator if verdict.is_right else None
