from django.urls import path

from . import account, introspection, sessions, views

auth_patterns = [
    path("me", views.MeView.as_view()),  # the most requested is matched first
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
