from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class TenancyConfig(AppConfig):
    name = "tenancy"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the checks
        from .context import install_guard
        from .grants import apply_grants

        post_migrate.connect(apply_grants, dispatch_uid="tenancy.grants")
        if settings.TENANT_GUARD:
            install_guard()
