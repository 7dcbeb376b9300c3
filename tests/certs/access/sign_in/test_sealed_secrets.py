"""Secrets of second factors are encrypted wherever they are stored."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth import get_user_model

from audit.models import AuditEvent
from certs.access.sign_in.sealed_secrets import SecretUnreadable, seal, unseal

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def test_a_sealed_secret_is_read_again_and_never_looks_the_same() -> None:
    assert unseal(seal(SEED)) == SEED
    assert seal(SEED) != seal(SEED)
    assert SEED not in seal(SEED)


def test_a_secret_under_the_previous_secret_key_is_read_with_its_fallback(settings: Any) -> None:
    sealed, old = seal(SEED), settings.SECRET_KEY
    settings.SECRET_KEY = "another secret key of many characters"
    with pytest.raises(SecretUnreadable, match="SECRET_KEY_FALLBACKS"):
        unseal(sealed)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert unseal(sealed) == SEED


@pytest.mark.parametrize("stored", [SEED, "", "aes256gcm:", "aes256gcm:AAAA", "aes256gcm:not base64"])
def test_what_the_portal_did_not_write_is_no_secret(stored: str) -> None:
    with pytest.raises(SecretUnreadable):
        unseal(stored)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_the_seed_of_an_authenticator_app_is_in_no_row_and_no_event() -> None:
    user = get_user_model().objects.create_user("mia")
    TOTP.activate(user, SEED)
    row = Authenticator.objects.get()
    assert row.wrap().instance.data["secret"].startswith("aes256gcm:")
    event = AuditEvent.objects.get(event="second_factor:created")
    assert event.subject == f"mfa.authenticator:{row.pk}"
    assert SEED not in repr(AuditEvent.objects.values_list("data"))
