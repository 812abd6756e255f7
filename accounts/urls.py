from django.urls import path

from . import views

urlpatterns = [
    path("password-reset/", views.request_password_reset, name="password-reset"),
    path("password-reset/done/", views.password_reset_done, name="password-reset-done"),
    path("reset/done/", views.reset_done, name="reset-done"),
    path("reset/<str:uid>/<str:token>/", views.reset_password, name="reset"),
    path("email-change/done/", views.email_change_done, name="email-change-done"),
    path("email-change/undo/<str:uid>/<str:token>/", views.undo_email_change, name="email-change-undo"),
    path("email-change/<str:uid>/<str:token>/", views.confirm_email_change, name="email-change"),
    path("verify-email/done/", views.verify_email_done, name="verify-email-done"),
    path("verify-email/<str:uid>/<str:token>/", views.verify_email, name="verify-email"),
]
