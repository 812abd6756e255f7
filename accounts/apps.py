from django.apps import AppConfig
from django.conf import settings


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the checks
        from .keys import key_ring

        if settings.JWT_SECRET_KEY:
            key_ring()  # keys that don't fit stop the start
