"""The steps of django-allauth as pages of the portal: second step, being asked again, new factors."""

from __future__ import annotations

from typing import Any

from allauth.account.views import ReauthenticateView
from allauth.mfa.base.views import AuthenticateView
from allauth.mfa.base.views import ReauthenticateView as ReauthenticateCodeView
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView, ViewRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.views import AddWebAuthnView, LoginWebAuthnView, ReauthenticateWebAuthnView
from django.contrib.auth import get_user_model, logout
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from certs.access.sign_in.second_factors import recovery_codes_of
from certs.errors import TooMany
from certs.views.access import page
from certs.views.sign_in.guessing import count_new_session, with_status

_hidden = sensitive_post_parameters("password", "code", "credential")


class _SameForm:
    """Show a form that was not accepted with its errors; the library's view would make a new one."""

    def form_invalid(self, form: Any) -> HttpResponse:
        context = self.get_context_data()  # type: ignore[attr-defined]
        context["form"] = form
        return self.render_to_response(context)  # type: ignore[attr-defined,no-any-return]


class _PasskeyAgain(_SameForm, ReauthenticateWebAuthnView):  # type: ignore[misc]
    pass


class _NewPasskey(_SameForm, AddWebAuthnView):  # type: ignore[misc]
    pass


class _NewRecoveryCodes(_SameForm, GenerateRecoveryCodesView):  # type: ignore[misc]
    """New codes in place of those that the page was opened for.

    Two pages that are open at once would each show codes, of which the first ones are void: the second is refused.
    """

    def get_initial(self) -> dict[str, Any]:
        return {"in_place_of": recovery_codes_of(self.request.user)}

    def form_valid(self, form: Any) -> HttpResponse:
        seen = form.cleaned_data["in_place_of"]
        with transaction.atomic():
            # The row that the library locks too: of two pages at once the second one finds what the first has made.
            get_user_model().objects.select_for_update().get(pk=self.request.user.pk)
            if seen is None or seen == recovery_codes_of(self.request.user):
                return super().form_valid(form)  # type: ignore[no-any-return]
        form.add_error("in_place_of", ValidationError("These codes were replaced in another tab or window."))
        return self.form_invalid(form)


second_step = _hidden(with_status(AuthenticateView.as_view()))
_passkey = LoginWebAuthnView.as_view()
again_password = _hidden(page(with_status(ReauthenticateView.as_view())))
again_code = _hidden(page(with_status(ReauthenticateCodeView.as_view())))
again_passkey = _hidden(page(with_status(_PasskeyAgain.as_view())))
new_app = _hidden(page(with_status(ActivateTOTPView.as_view())))
new_passkey = _hidden(page(with_status(_NewPasskey.as_view())))
new_recovery_codes = page(with_status(_NewRecoveryCodes.as_view()))
recovery_codes = page(ViewRecoveryCodesView.as_view())


@_hidden
def passkey(request: HttpRequest) -> HttpResponseBase:
    """GET gives the challenge to the portal's script, POST signs in with the passkey."""
    if request.method != "POST" and not request.session.session_key:
        try:
            count_new_session(request)
        except TooMany as exc:
            answer = JsonResponse({"error": exc.message}, status=exc.status)
            answer["Retry-After"] = str(exc.retry_after)
            return answer
    return _passkey(request)  # type: ignore[no-any-return]


@page
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_anew(request: HttpRequest) -> HttpResponse:
    """For a person who has neither a password nor a second factor here: sign out, and in again."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    inside = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    following = wanted if inside else reverse("account")
    if request.method == "POST":
        logout(request)
        return redirect(f"{reverse('login')}?{urlencode({'next': following})}")
    return render(request, "account/anew.html", {"next": following})
