"""Addresses of signing in and of second factors. The names are those that django-allauth looks up."""

from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from certs.views.account import factors_of_person, security
from certs.views.sign_in import forgotten, identity_provider, login, steps

urlpatterns = [
    path("login/", login.SignIn.as_view(), name="login"),
    path("login/", login.SignIn.as_view(), name="account_login"),
    path("login/code/", steps.second_step, name="mfa_authenticate"),
    path("login/passkey/", steps.passkey, name="mfa_login_webauthn"),
    path("login/oidc/", identity_provider.begin, name="openid_connect_login"),
    path("login/oidc/callback/", identity_provider.callback, name="openid_connect_callback"),
    path("login/oidc/ended/", identity_provider.ended, name="openid_connect_ended"),
    path("login/forgotten/", forgotten.forgotten, name="password-forgotten"),
    path(
        "login/forgotten/<str:uidb64>/<str:token>/",
        forgotten.NewPassword.as_view(),
        name="password-reset",
    ),
    path("login/again/", steps.again_password, name="account_reauthenticate"),
    path("login/again/code/", steps.again_code, name="mfa_reauthenticate"),
    path("login/again/passkey/", steps.again_passkey, name="mfa_reauthenticate_webauthn"),
    path("login/anew/", steps.sign_in_anew, name="sign-in-anew"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/security/", security.index, name="mfa_index"),
    path("account/security/app/", steps.new_app, name="mfa_activate_totp"),
    # A person who has an app already is led to the list, where it can be removed.
    path(
        "account/security/app/there/",
        RedirectView.as_view(pattern_name="mfa_index"),
        name="mfa_deactivate_totp",
    ),
    path("account/security/passkey/", steps.new_passkey, name="mfa_add_webauthn"),
    path("account/security/codes/", steps.recovery_codes, name="mfa_view_recovery_codes"),
    path("account/security/codes/new/", steps.new_recovery_codes, name="mfa_generate_recovery_codes"),
    path("account/security/identity/<int:pk>/", security.disconnect_identity, name="identity-disconnect"),
    path("account/security/of/<int:pk>/", factors_of_person.index, name="factors-of-person"),
    path("account/security/<int:pk>/rename/", security.rename, name="factor-rename"),
    path("account/security/<int:pk>/remove/", security.remove, name="factor-remove"),
]
