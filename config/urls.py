from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from accounts.api import problems
from accounts.api.metrics import MetricsView
from accounts.api.urls import auth_patterns, end_user_patterns
from accounts.api.views import JWKSView
from accounts.views import change_password

from . import health, openapi

urlpatterns = [
    path("api/v1/auth/", include(auth_patterns)),
    path("api/v1/end-users/", include(end_user_patterns)),
    path("api/v1/audit/", include("audit.api.urls")),
    path("account/", include("accounts.urls")),
    path(".well-known/jwks.json", JWKSView.as_view()),
    path(".well-known/change-password", change_password),
    path("healthz", health.AliveView.as_view()),
    path("metrics", MetricsView.as_view()),
    path("readyz", health.ReadyView.as_view()),
    path("api/schema", openapi.DocumentView.as_view(), name="schema"),
    path("api/docs/", openapi.PageView.as_view(), name="docs"),
]
if settings.SERVES_ADMIN:
    urlpatterns += [path("admin/", admin.site.urls)]

handler400 = problems.bad_request
handler404 = problems.not_found
handler500 = problems.server_error
