"""The forms of django-allauth under the portal's limits on guessing. Named by the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.account.forms import ReauthenticateForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.base.forms import ReauthenticateForm as ReauthenticateCodeForm
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.forms import GenerateRecoveryCodesForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from django.core.exceptions import ValidationError

from certs.access.sign_in.sealed_secrets import SecretUnreadable, seal, unseal
from certs.access.sign_in.second_factors import LONGEST_NAME, MOST_PASSKEYS, check_code, use_up
from certs.views.sign_in.guessing import anonymous_try, code_try, counted, password_try

WRONG_CODE = "This code is wrong, or it was used already. Wait for the next code of your app."
WRONG_PASSKEY = "This passkey was not accepted. Sign in with your password, or use another passkey."
MOST_CODE_CHARACTERS = 64
MOST_CREDENTIAL_CHARACTERS = 32_768


class NewRecoveryCodes(GenerateRecoveryCodesForm):  # type: ignore[misc] # allauth has no types
    """New recovery codes. `in_place_of`: the id of those that the page was opened for; nothing from a page that does not say it."""

    in_place_of = forms.IntegerField(required=False, widget=forms.HiddenInput)


class PasswordAgain(ReauthenticateForm):  # type: ignore[misc] # allauth has no types
    """The password of the person who is signed in."""

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        with counted(password_try(context.request, self.user)):
            if not self.user.check_password(password):
                raise ValidationError("This is not your password.")
        return password


class _Code:
    """A code of an authenticator app, or a recovery code. `user` and `cleaned_data` are the form's."""

    user: Any
    cleaned_data: dict[str, Any]
    authenticator: Authenticator

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        with counted(code_try(context.request, self.user)):
            found = check_code(self.user, code) if len(code) <= MOST_CODE_CHARACTERS else None
            if found is None:
                raise ValidationError(WRONG_CODE)
        self.authenticator = found
        return code


class CodeForm(_Code, AuthenticateForm):  # type: ignore[misc]
    """The second step of a sign-in."""


class CodeAgain(_Code, ReauthenticateCodeForm):  # type: ignore[misc]
    """A code of the person who is signed in."""


class NewApp(ActivateTOTPForm):  # type: ignore[misc]
    """The first code of a new authenticator app. Its seed waits in the session, encrypted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        session = context.request.session
        waiting = session.pop(SECRET_SESSION_KEY, None)
        if waiting:
            try:
                session[SECRET_SESSION_KEY] = unseal(waiting)
            except SecretUnreadable:  # another SECRET_KEY since then: the app is shown a new seed
                session.pop(SECRET_SESSION_KEY, None)
        super().__init__(*args, **kwargs)
        session[SECRET_SESSION_KEY] = seal(self.secret)

    def clean_code(self) -> str:
        with counted(code_try(context.request, self.user)):
            try:
                code: str = super().clean_code()
            except ValidationError as exc:
                raise ValidationError("This code is wrong. Look at the app again: it shows a new one every 30 seconds.") from exc
            if not use_up(self.user, code):
                raise ValidationError(WRONG_CODE)
        return code


class CredentialField(forms.JSONField):
    """A credential as the portal's script sends it (WebAuthn Level 3, 5.1)."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        """Return the credential. Raises ValidationError for what no browser sends."""
        if isinstance(value, str) and len(value) > MOST_CREDENTIAL_CHARACTERS:
            raise ValidationError(WRONG_PASSKEY)
        try:
            found = super().to_python(value)
        except (RecursionError, ValueError) as exc:  # nested too deep; a number of too many digits
            raise ValidationError(WRONG_PASSKEY) from exc
        if found is not None and not _is_credential(found):
            raise ValidationError(WRONG_PASSKEY)
        return found


def _is_credential(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("response"), dict):
        return False
    if not all(isinstance(data.get(name), str) for name in ("id", "rawId", "type")):
        return False
    handle = data["response"].get("userHandle")
    # The handle is an account's number: what is longer fits into no column.
    return handle is None or (isinstance(handle, str) and len(handle) <= 16)


def _checked(check: Callable[[], Any]) -> Any:
    """Return what the library returns; ValidationError for everything that it cannot read."""
    try:
        return check()
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as exc:
        raise ValidationError(WRONG_PASSKEY) from exc


class _Passkey:
    """A passkey of a known account."""

    user: Any
    cleaned_data: dict[str, Any]

    def clean_credential(self) -> Authenticator:
        with counted(code_try(context.request, self.user)):
            found: Authenticator = _checked(super().clean_credential)  # type: ignore[misc]
            return found


class PasskeyForm(_Passkey, AuthenticateWebAuthnForm):  # type: ignore[misc]
    """The second step of a sign-in."""

    credential = CredentialField()


class PasskeyAgain(_Passkey, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey of the person who is signed in."""

    credential = CredentialField()


class PasskeySignIn(LoginWebAuthnForm):  # type: ignore[misc]
    """A passkey instead of name and password: it has verified its user (WebAuthn Level 3, 6.1)."""

    credential = CredentialField()

    def clean_credential(self) -> Authenticator:
        with counted(anonymous_try(context.request)):
            found: Authenticator = _checked(super().clean_credential)
            if not found.user.is_active:
                raise ValidationError(WRONG_PASSKEY)
        return found


class NewPasskey(AddWebAuthnForm):  # type: ignore[misc]
    """A new passkey with its name."""

    name = forms.CharField(required=False, max_length=LONGEST_NAME)
    credential = CredentialField()
    passwordless = None  # whether it works without a password is up to the authenticator

    def clean(self) -> dict[str, Any]:
        if Authenticator.objects.filter(user=self.user, type=Authenticator.Type.WEBAUTHN).count() >= MOST_PASSKEYS:
            raise ValidationError(f"You have {MOST_PASSKEYS} passkeys, the most there can be. Remove one first.")
        if self.errors:
            return dict(self.cleaned_data)
        cleaned: dict[str, Any] = _checked(super().clean)
        return cleaned
