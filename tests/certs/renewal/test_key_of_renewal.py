"""Renewal with keys where they really are: Vault's transit rotates them, and the CSR is signed by exactly the version meant."""

from __future__ import annotations

from typing import Any

import hvac
import pytest
from cryptography import x509

from audit.models import AuditEvent
from certs.enums import RevocationReason as R
from certs.models import Certificate
from certs.renewal.plan import KeyOption
from certs.requests.plan import plan_words
from certs.requests.submit import submit
from certs.revocation.key_destruction import process_destructions
from certs.revocation.revoke import revoke
from keys.models import Key
from keys.registry import forget_backends
from keys.spec import spki_sha256
from tests.certs.life import PORTAL, renewed, walk
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["vault", "local", "pkcs11"])
def certificate(request: pytest.FixtureRequest, portal: Portal, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """On a key in each backend; nothing is started by itself, the steps run here."""
    if request.param == "vault":
        mount, access = request.getfixturevalue("vault_mount")("transit"), request.getfixturevalue("vault_access")
        options = {"url": access.address, "ca_cert": str(access.ca_file), "token": access.token, "mount": mount}
        settings.KEY_BACKENDS = settings.KEY_BACKENDS | {"vault": {"BACKEND": "keys.backends.vault.VaultKeyBackend", "OPTIONS": options}}
        forget_backends()
    settings.PKI_LEAF_KEY_BACKEND = request.param
    plan: Any = plan_words("Certificate for rotate.example.com, P-256, 30 days", requester=portal.requester())
    asked = submit(plan.specs[0], requester=portal.requester())
    walk([asked.pk])
    return Certificate.objects.select_related("key", "request").get(request=asked)


def csr_of(certificate: Certificate) -> x509.CertificateSigningRequest:
    return x509.load_der_x509_csr(bytes(certificate.request.csr.der))


def test_rotated_key_signs_its_own_csr_and_the_old_version_lives_on(certificate: Certificate) -> None:
    assert certificate.key is not None
    new = renewed(certificate, key_option=KeyOption.NEW)
    kept = renewed(new)
    assert new.key is not None
    rotates = certificate.key.backend != "pkcs11"
    assert (new.key.name == certificate.key.name, new.key.version) == (rotates, 2 if rotates else 1)
    assert kept.key == new.key
    for one in (certificate, new, kept):
        csr = csr_of(one)
        assert csr.is_signature_valid
        assert spki_sha256(csr.public_key()) == one.spki_sha256
    assert certificate.spki_sha256 != new.spki_sha256 == kept.spki_sha256
    again = renewed(kept)  # on version 2, while version 1 is still there
    assert again.spki_sha256 == new.spki_sha256


def test_destroyed_key_signs_no_renewal_and_leaves_a_receipt(certificate: Certificate) -> None:
    assert certificate.key is not None
    done = revoke(certificate, reason=R.KEY_COMPROMISE, authority=PORTAL, destroy_key=True, begin=False)
    assert (done.destroying, process_destructions()) == (True, 1)
    assert Key.objects.get(pk=certificate.key.pk).state == Key.State.DESTROYED
    receipt = AuditEvent.objects.get(event="key:destroyed").data
    assert (receipt["backend"], receipt["certificates"]) == (certificate.key.backend, [certificate.cert_id])


def test_version_is_not_destroyed_while_another_serves(certificate: Certificate, vault_client: hvac.Client) -> None:
    new = renewed(certificate, key_option=KeyOption.NEW)
    assert certificate.key is not None
    assert new.key is not None
    done = revoke(certificate, reason=R.KEY_COMPROMISE, authority=PORTAL, destroy_key=True, begin=False)
    assert done.destroying is (new.key.name != certificate.key.name)
    new.refresh_from_db()
    assert new.status == Certificate.Status.GOOD
