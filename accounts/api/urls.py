from django.urls import path

from . import views

urlpatterns = [
    path("register", views.RegisterView.as_view()),
    path("email/verify", views.VerifyEmailView.as_view()),
    path("email/verify/resend", views.ResendVerificationView.as_view()),
    path("login", views.LoginView.as_view()),
    path("refresh", views.RefreshView.as_view()),
    path("logout", views.LogoutView.as_view()),
    path("logout/all", views.LogoutAllView.as_view()),
    path("password/change", views.PasswordChangeView.as_view()),
    path("password/validate", views.PasswordValidateView.as_view()),
    path("password/reset", views.PasswordResetView.as_view()),
    path("password/reset/confirm", views.PasswordResetConfirmView.as_view()),
    path("me", views.MeView.as_view()),
]
