from django.apps import AppConfig
from django.conf import settings
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.db.models.signals import post_migrate


class TenancyConfig(AppConfig):
    name = "tenancy"

    def ready(self) -> None:
        from .checks import system  # noqa: F401  registers the checks
        from .grants import apply_grants
        from .guard import install_guard

        post_migrate.connect(apply_grants, dispatch_uid="tenancy.grants")
        if settings.TENANT_GUARD:
            install_guard()
        if not settings.DEBUG:  # `request_finished` already does it; this saves a tenth of a request
            request_started.disconnect(close_old_connections)
            request_started.disconnect(reset_queries)
