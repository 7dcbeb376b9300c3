"""Rights of a Vault role that are removed for a while: requests wait with the reason, and go on."""

from __future__ import annotations

from typing import Any

import pytest

from certs import tasks
from certs.ca.registry import get_ca_client
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.models import CertificateRequest, Issuer, OperatorAlert
from certs.requests.submit import Requester, submit_many
from certs.requests.waiting import hold_for_ca, hold_for_keys
from tests.certs import steps
from tests.certs.issuance.test_schedules import walk
from tests.certs.requests.test_outcomes import MakeSpec
from tests.keys.backends.test_vault_policies import Mounts, mounts
from tests.portal.elsewhere import pki_engine
from tests.twins.ca import TwinCAClient

__all__ = ["mounts"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)


def set_rights(mounts: Mounts, role: str, *, without: str = "") -> None:
    text = mounts.policy(role)
    text = text.replace(f'path "{without}', 'path "elsewhere/') if without else text
    mounts.vault.sys.create_or_update_policy(f"{role}-{mounts.mark}", text)


@pytest.mark.parametrize("right", ["keys/+", "sign/+"])
def test_requests_wait_for_the_rights_of_the_keys_role(
    right: str,
    twin_portal: Requester,
    twin_ca: TwinCAClient,
    make_spec: MakeSpec,
    mounts: Mounts,
    settings: Any,
) -> None:
    """F4: 125 requests failed permanently while a role had no rights for 40 s."""
    login = {"url": mounts.access.address, "ca_cert": str(mounts.access.ca_file), "mount": mounts.leaf, **mounts.login("keys")}
    settings.KEY_BACKENDS = {"vault": {"BACKEND": "keys.backends.vault.VaultKeyBackend", "OPTIONS": login}}
    settings.PKI_LEAF_KEY_BACKEND = "vault"
    ids = [request.pk for request in submit_many([make_spec(f"r{n}.example.com") for n in range(3)], requester=twin_portal)]
    steps.check_policy(ids)
    set_rights(mounts, "keys", without=f"{mounts.leaf}/{right}")
    if right == "sign/+":
        steps.ensure_keys(ids)
    step = steps.create_csrs if right == "sign/+" else steps.ensure_keys
    with pytest.raises(Unavailable) as caught:
        step(ids)
    hold_for_keys(caught.value.ids, caught.value.message)
    assert not CertificateRequest.objects.filter(state=S.FAILED).exists()
    assert "docs/vault" in OperatorAlert.objects.get(kind="keys_unavailable").message
    assert recovery.release_for_answering_keys() == 0  # the token lives, but may not do the work
    set_rights(mounts, "keys")
    assert recovery.release_for_answering_keys() == 3
    walk(ids)
    assert CertificateRequest.objects.filter(state=S.COMPLETED).count() == 3


def test_requests_wait_for_the_rights_of_the_ca_role(twin_portal: Requester, make_spec: MakeSpec, mounts: Mounts, settings: Any) -> None:
    """F4, at a CA that is Vault's PKI engine."""
    options = pki_engine(mounts.vault, mounts.access, mounts.pki) | {"token": "", "url": mounts.access.address}
    entry = {"CLIENT": "certs.ca.vault_pki.VaultPKIClient", "OPTIONS": options | mounts.login("pki")}
    settings.CA_CLIENTS = settings.CA_CLIENTS | {"Twin-CA": entry}
    Issuer.objects.update(trust_anchor_der=get_ca_client("Twin-CA").chain()[-1])
    ids = [request.pk for request in submit_many([make_spec(f"r{n}.example.com") for n in range(2)], requester=twin_portal)]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    set_rights(mounts, "pki", without=f"{mounts.pki}/sign/portal")
    with pytest.raises(Unavailable) as caught:
        steps.submit_to_ca(ids)
    hold_for_ca(caught.value.ids, caught.value.message)
    assert "docs/vault" in OperatorAlert.objects.get(kind="ca_unavailable").message
    issuer = Issuer.objects.get()
    assert tasks.sweep_remote_ca(issuer.pk)["released"] == 0
    set_rights(mounts, "pki")
    assert tasks.sweep_remote_ca(issuer.pk)["released"] == 2
    walk(ids)
    assert CertificateRequest.objects.filter(state=S.COMPLETED).count() == 2
