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

        # after `auth`: the permissions of this project's apps, which come before it, exist by then
        post_migrate.connect(
            ensure_roles, sender=apps.get_app_config("auth"), dispatch_uid="accounts.permissions"
        )
        if settings.JWT_SECRET_KEY:
            key_ring()  # raises if the keys are invalid


class OperatorAdminConfig(admin_apps.AdminConfig):
    """Makes OperatorSite Django's default admin site."""

    default = False
    default_site = "accounts.admin.site.operator_site"
