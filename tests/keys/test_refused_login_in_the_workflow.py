"""A login that the backend refuses holds requests, tells the operator what to renew, and lets them go on once it is renewed (F5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.models import OperatorAlert
from certs.requests.submit import Requester, submit_many
from certs.requests.waiting import hold_for_keys
from certs.spec import CertificateSpec
from keys.registry import forget_backends
from tests.certs import steps
from tests.certs.issuance.test_schedules import walk
from tests.keys.backends.test_vault_policies import Mounts, mounts
from tests.twins.ca import TwinCAClient

__all__ = ["mounts"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def test_wrong_secret_id_holds_the_request_until_it_is_renewed(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: Callable[..., CertificateSpec], mounts: Mounts, settings: Any
) -> None:
    login = mounts.login("keys")
    vault = {"url": mounts.access.address, "ca_cert": str(mounts.access.ca_file), "mount": mounts.leaf}

    def start_with(**credential: str) -> None:
        options = {**vault, **login, **credential}
        settings.KEY_BACKENDS = {"vault": {"BACKEND": "keys.backends.vault.VaultKeyBackend", "OPTIONS": options}}
        forget_backends()

    settings.PKI_LEAF_KEY_BACKEND = "vault"
    start_with(secret_id="expired")
    request = submit_many([make_spec()], requester=twin_portal)[0]
    steps.check_policy([request.pk])
    with pytest.raises(Unavailable) as caught:
        steps.ensure_keys([request.pk])
    hold_for_keys(caught.value.ids, caught.value.message)
    request.refresh_from_db()
    assert (request.state, request.error, bool(request.resume_id)) == (S.APPROVED, "Key backend unavailable", True)
    assert "secret-id" in OperatorAlert.objects.get(kind="keys_unavailable").message
    assert recovery.release_for_answering_keys() == 0  # Vault is up, but it does not take us
    start_with()  # as a restarted worker with the new one
    assert recovery.release_for_answering_keys() == 1
    walk([request.pk])
    request.refresh_from_db()
    assert request.state == S.COMPLETED
