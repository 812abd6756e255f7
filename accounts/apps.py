from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"
    default = True

    def ready(self) -> None:
        from accounts.tokens.key_cache import key_ring

        from .permissions import ensure_roles

        # auth comes after this house's own apps: by then they have their permissions
        post_migrate.connect(
            ensure_roles, sender=apps.get_app_config("auth"), dispatch_uid="accounts.permissions"
        )
        if settings.JWT_SECRET_KEY:
            key_ring()  # keys that don't fit stop the start


class OperatorAdminConfig(admin_apps.AdminConfig):
    """Django's admin, on our site: `django.contrib.admin.site` is that one."""

    default = False
    default_site = "accounts.admin.site.operator_site"
