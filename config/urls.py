from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from accounts.api import problems
from accounts.api.urls import auth_patterns, end_user_patterns
from accounts.api.views import jwks
from accounts.views import page
from tenancy.middleware import owns_transactions

from . import health

urlpatterns = [
    path("api/v1/auth/", include(auth_patterns)),
    path("api/v1/end-users/", include(end_user_patterns)),
    path("api/v1/audit/", include("audit.urls")),
    path("account/", include("accounts.urls")),
    path(".well-known/jwks.json", owns_transactions(jwks)),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("api/schema", owns_transactions(SpectacularAPIView.as_view()), name="schema"),
    path("api/docs/", owns_transactions(SpectacularSwaggerView.as_view()), name="docs"),
]
if settings.SERVES_ADMIN:
    urlpatterns += [path("admin/login/", page("login")(admin.site.login)), path("admin/", admin.site.urls)]

handler400 = problems.bad_request
handler404 = problems.not_found
handler500 = problems.server_error
