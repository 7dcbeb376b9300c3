"""An issuing CA that is not to be trusted any more is on its root's CRL, and whoever checks the chain sees it."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from certs.ca.registry import get_ca_client
from certs.models import Issuer, OperatorAlert
from certs.renewal import expiry
from certs.status.crl import points_of
from certs.status.maintenance import keep_status_information
from certs.status.ocsp.respond import forget_answers
from certs.status.ocsp.signers import forget_signers
from certs.x509.crl import REASON_CODES
from keys.models import Key, PublicKey
from keys.registry import forget_backends
from tests.certs.relying_parties import Files, crl_der, crl_pem, gnutls_crl, lint, openssl_verify, pyhanko_refuses
from tests.certs.status.ocsp.questions import request_for, said, word
from tests.portal.authority import issue, issuing_ca, publish_everything, published, revoke, served
from tests.portal.commands import run
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_answers()
    forget_signers()


def distrusted(issuer: Issuer, reason: str = "cACompromise") -> tuple[int, dict[str, Any]]:
    return run("distrust_ca", issuer.name, "--reason", reason, "--yes")


def serial_of(issuer: Issuer) -> str:
    return f"{x509.load_der_x509_certificate(bytes(issuer.certificate_der or b'')).serial_number:x}"


def test_addresses_in_the_issuing_cas_certificate_answer(portal: Portal) -> None:
    issuer = publish_everything()
    certificate = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    (crl_name,) = [name.value for point in points for name in point.full_name or ()]
    (ca_name,) = [one.access_location.value for one in access if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS]
    with served() as url:
        crl, root = (urllib.request.urlopen(url + urlsplit(name).path, timeout=10).read() for name in (crl_name, ca_name))
    authority = x509.load_der_x509_certificate(root)
    certificate.verify_directly_issued_by(authority)
    assert x509.load_der_x509_crl(crl).is_signature_valid(authority.public_key())  # type: ignore[arg-type]


def test_distrusted_ca_is_on_the_roots_crl_and_its_certificates_are_refused(portal: Portal, tmp_path: Path) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    root = issuer.parent
    assert root is not None
    files = Files.of(issuer, tmp_path)
    assert openssl_verify(files, certificate, crl_pem(tmp_path / "a.pem", published(issuer), published(root))) == "OK"
    code, answer = distrusted(issuer)
    assert (code, answer["success"], answer["serial_number"], answer["living_certificates"]) == (0, True, serial_of(issuer), 1)
    (entry,) = published(root)
    assert f"{entry.serial_number:x}" == serial_of(issuer)
    assert REASON_CODES[entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value] == REASON_CODES["cACompromise"]
    crls = crl_pem(tmp_path / "b.pem", published(issuer), published(root))
    assert openssl_verify(files, certificate, crls) == "certificate revoked"
    assert "revoked" in pyhanko_refuses(certificate, crls=[crl.public_bytes(Encoding.DER) for crl in (published(issuer), published(root))])
    listing = crl_der(tmp_path / "root.crl", published(root))
    gnutls_crl(files.root, listing)
    assert lint("lint_crl", "-t", "ARL", "-p", "PKIX", listing) == ""
    event = AuditEvent.objects.get(event="issuer:state_changed")
    assert event.data == {"from": "active", "to": "distrusted", "reason": "cACompromise", "serial_number": serial_of(issuer)}


def test_it_issues_and_signs_nothing_any_more_and_its_key_is_refused_everywhere(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    distrusted(issuer)
    assert issuer.key is not None
    assert Key.objects.get(pk=issuer.key.pk).state == Key.State.COMPROMISED
    assert PublicKey.objects.get(pk=issuer.key.spki_sha256).blocked_at is not None
    number = points_of(issuer)[0].last_number
    keep_status_information()
    assert points_of(issuer)[0].last_number == number
    assert get_ca_client(issuer.alias).is_working() is False
    assert certificate.status == "good"


def test_ocsp_says_revoked_for_everything_that_a_distrusted_ca_signed(portal: Portal) -> None:
    """T5: RFC 6960 2.7, also of serials that are not on record, and of answers kept from before."""
    certificate, earlier = issue(portal, 2)
    issuer = publish_everything()
    revoke(earlier, "superseded")
    assert word(said(certificate)) == "good"
    distrusted(issuer)
    for request in (request_for(certificate), request_for(certificate, serial=1 << 100)):
        response = said(certificate, request)
        assert word(response) == "revoked"
        assert response.revocation_reason is x509.ReasonFlags.ca_compromise
    response = said(earlier)  # what was revoked before that keeps its own time and reason
    assert (word(response), response.revocation_reason) == ("revoked", x509.ReasonFlags.superseded)


def test_nothing_is_done_without_yes(portal: Portal) -> None:
    issuer = publish_everything()
    code, answer = run("distrust_ca", issuer.slug, "--reason", "superseded")
    assert (code, answer["success"]) == (1, False)
    assert answer["next_steps"] == [f'`manage.py roll_over_ca "{issuer.name}"`: until then requests for it are refused.']
    issuer.refresh_from_db()
    assert (issuer.state, list(published(issuer.parent))) == ("active", [])  # type: ignore[arg-type]


def test_root_whose_key_is_offline_is_said_and_alarmed_until_its_crl_is_made(portal: Portal, settings: Any) -> None:
    issuer = publish_everything()
    root, backends = issuer.parent, settings.KEY_BACKENDS
    assert root is not None
    settings.KEY_BACKENDS = {name: backend for name, backend in backends.items() if name != "root"}
    forget_backends()
    code, answer = distrusted(issuer)
    assert (code, answer["next_step"]) == (
        1,
        f"Bring the root's key online and run `manage.py publish_crl --issuer {root.slug}`.",
    )
    alert = OperatorAlert.objects.get(kind="root_crl_behind")
    assert alert.next_step == answer["next_step"]
    settings.KEY_BACKENDS = backends
    forget_backends()
    assert run("publish_crl", "--issuer", root.slug)[0] == 0
    keep_status_information()
    assert [f"{entry.serial_number:x}" for entry in published(root)] == [serial_of(issuer)]
    assert not OperatorAlert.objects.filter(kind="root_crl_behind", closed_at__isnull=True).exists()
    assert distrusted(issuer)[0] == 0  # again: nothing is made anew
    assert points_of(root)[0].crls.count() == 2
    assert distrusted(issuer, "superseded")[0] == 1  # another reason
    assert AuditEvent.objects.filter(event="issuer:state_changed").count() == 1


def test_roots_and_cas_elsewhere_are_refused(portal: Portal) -> None:
    issuer = issuing_ca()
    assert issuer.parent is not None
    code, answer = distrusted(issuer.parent)
    assert (code, answer["type"]) == (1, "conflict")
    for arguments in (("nobody", "--reason", "superseded"), (issuer.name, "--reason", "certificateHold")):
        with pytest.raises(CommandError):
            call_command("distrust_ca", *arguments)


def test_certificates_of_a_distrusted_ca_are_renewed_at_once_by_its_successor(portal: Portal) -> None:
    before = issue(portal, 2)
    old = publish_everything()
    assert expiry.check_expiry(begin=False).checked == 0
    distrusted(old)
    refused = expiry.check_expiry(begin=False)
    assert (refused.checked, len(refused.refused), refused.renewed) == (2, 2, [])
    assert "no CA has taken over from it" in refused.refused[0].reason
    assert run("roll_over_ca")[0] == 0
    done = expiry.check_expiry(begin=False)
    assert [renewal.plan.issuer.name for renewal in done.renewed] == [f"{old.name}-G2"] * 2
    assert {renewal.plan.certificate.cert_id for renewal in done.renewed} == {certificate.cert_id for certificate in before}


def test_key_of_a_compromised_ca_stays_blocked(portal: Portal) -> None:
    """S1: relying parties were told, so no officer takes the block back."""
    issuer = issuing_ca()
    assert distrusted(issuer)[0] == 0
    key = issuer.key
    assert key is not None
    code, answer = run("unblock_key", key.spki_sha256, "--reason", "by mistake", "--as", "carol")
    assert (code, "public and final" in answer["error"]) == (1, True)
    key.refresh_from_db()
    assert (key.state, PublicKey.objects.get(pk=key.spki_sha256).blocked_at is None) == ("compromised", False)
