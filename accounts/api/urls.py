from collections.abc import Iterator
from typing import Any

from django.urls import path
from rest_framework.serializers import Serializer

from . import account, introspection, sessions, views

auth_patterns = [
    path("me", views.MeView.as_view()),  # first, because it is called most
    path("register", views.RegisterView.as_view()),
    path("email/verify", views.VerifyEmailView.as_view()),
    path("email/verify/resend", views.ResendVerificationView.as_view()),
    path("email/change", account.EmailChangeView.as_view()),
    path("email/change/confirm", account.EmailChangeConfirmView.as_view()),
    path("login", views.LoginView.as_view()),
    path("refresh", views.RefreshView.as_view()),
    path("logout", views.LogoutView.as_view()),
    path("logout/all", views.LogoutAllView.as_view()),
    path("sessions", sessions.SessionsView.as_view()),
    path("sessions/<uuid:session_id>", sessions.SessionView.as_view()),
    path("password/change", views.PasswordChangeView.as_view()),
    path("password/validate", views.PasswordValidateView.as_view()),
    path("password/reset", views.PasswordResetView.as_view()),
    path("password/reset/confirm", views.PasswordResetConfirmView.as_view()),
    path("me/delete", account.DeleteView.as_view()),
    path("me/export", account.ExportView.as_view()),
    path("token/introspect", introspection.IntrospectView.as_view()),
    path("token/revoke", introspection.RevokeView.as_view()),
]

end_user_patterns = [
    path("sessions", sessions.EndUserSessionsView.as_view()),
    path("sessions/current", sessions.CurrentEndUserSessionView.as_view()),
    path("sessions/<uuid:session_id>", sessions.EndUserSessionView.as_view()),
]


def endpoints() -> Iterator[tuple[str, type[Any]]]:
    """Each path below /api/v1/ and its view."""
    for prefix, patterns in (("auth", auth_patterns), ("end-users", end_user_patterns)):
        for pattern in patterns:
            yield f"/api/v1/{prefix}/{pattern.pattern}", pattern.callback.cls  # type: ignore[attr-defined]


def json_endpoints() -> Iterator[tuple[str, type[Any], type[Serializer]]]:
    """Each path whose POST takes JSON, its view and the serializer of the request."""
    for url, view in endpoints():
        serializer = getattr(getattr(view, "post", None), "request_serializer", None)
        if isinstance(serializer, type):
            yield url, view, serializer


def limited_paths() -> dict[str, str]:
    """Rate-limit scope → the path of an endpoint that counts in it."""
    return {view.limit: url for url, view in endpoints() if hasattr(view, "limit")}
