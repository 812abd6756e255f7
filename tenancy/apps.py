from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class TenancyConfig(AppConfig):
    name = "tenancy"

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415  registers the checks
        from .context import guard  # noqa: PLC0415
        from .grants import apply_grants  # noqa: PLC0415

        post_migrate.connect(apply_grants, dispatch_uid="tenancy.grants")
        if settings.TENANT_GUARD:

            def install(connection: Any, **kwargs: Any) -> None:
                if connection.alias == "default" and guard not in connection.execute_wrappers:
                    connection.execute_wrappers.append(guard)

            connection_created.connect(install, weak=False, dispatch_uid="tenancy.guard")
