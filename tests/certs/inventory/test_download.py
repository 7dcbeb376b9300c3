"""Files of a certificate: what each holds, who gets them, and that each download is on record."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.errors import Conflict, NotFound
from certs.inventory.download import FORMS, content_of, file_stem, take
from certs.models import Certificate, Chain
from certs.requests.submit import Requester
from certs.revocation.deliver import process_revocations
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from tests.cast import Cast
from tests.certs.life import PORTAL, issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec) -> Certificate:
    return issued(make_spec("shop.example.com"), twin_portal)


def ders(pem: bytes) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem)]


def test_each_file_holds_what_its_name_says(certificate: Certificate) -> None:
    contents = {form: content_of(certificate, form, authority=PORTAL)[0] for form in FORMS}
    leaf = bytes(certificate.body.der)
    *intermediates, root = ders(certificate.chain.pem.encode())
    assert len(intermediates) == 1
    assert contents["cert.der"] == leaf
    assert ders(contents["cert.pem"]) == [leaf]
    assert ders(contents["fullchain.pem"]) == [leaf, *intermediates]
    assert ders(contents["chain.pem"]) == [*intermediates, root]
    assert ders(contents["root.pem"]) == [root]
    bundle = pkcs7.load_pem_pkcs7_certificates(contents["chain.p7b"])
    assert {one.public_bytes(Encoding.DER) for one in bundle} == {leaf, *intermediates}


def test_each_file_has_the_media_type_of_its_encoding(certificate: Certificate) -> None:
    types = {form: content_of(certificate, form, authority=PORTAL)[1] for form in FORMS}
    pem = "application/pem-certificate-chain"
    assert types == {
        "fullchain.pem": pem,
        "cert.pem": pem,
        "chain.pem": pem,
        "root.pem": pem,
        "cert.der": "application/pkix-cert",
        "chain.p7b": "application/x-pkcs7-certificates",
    }


def test_a_download_is_on_record_and_a_look_is_not(cast: Cast, certificate: Certificate) -> None:
    authority = cast.authority("colleague")
    assert take(certificate, "cert.der", authority=authority) == content_of(certificate, "cert.der", authority=authority)
    (event,) = AuditEvent.objects.filter(event="certificate:downloaded")
    assert (event.subject, event.actor_name, event.data) == (f"certificate:{certificate.cert_id}", "colleague", {"form": "cert.der"})


def refused(certificate: Certificate, form: str, authority: Authority, error: type[Exception], said: str) -> None:
    for get in (content_of, take):
        with pytest.raises(error, match=said):
            get(certificate, form, authority=authority)
    assert not AuditEvent.objects.filter(event="certificate:downloaded").exists()


def test_who_may_not_see_the_certificate_hears_that_there_is_none(cast: Cast, certificate: Certificate) -> None:
    cast.web.members.remove(cast["leaver"])
    for name in ("outsider", "nobody", "leaver"):
        refused(certificate, "cert.pem", cast.authority(name), NotFound, "There is no such certificate")
    for name in ("requester", "colleague", "auditor", "officer", "approver"):
        assert content_of(certificate, "cert.pem", authority=cast.authority(name))


@pytest.mark.parametrize("form", ["", "key.pem", "CERT.PEM", "cert.pem/", "../cert.pem"])
def test_a_file_that_does_not_exist_is_refused_with_those_that_do(certificate: Certificate, form: str) -> None:
    with pytest.raises(NotFound) as missing:
        content_of(certificate, form, authority=PORTAL)
    assert missing.value.next_step == f"There are {', '.join(FORMS)}."


def test_a_certificate_is_not_handed_out_from_the_moment_its_revocation_is_requested(certificate: Certificate) -> None:
    revoke(certificate, reason=RevocationReason.SUPERSEDED, authority=PORTAL, begin=False)
    certificate.refresh_from_db()
    refused(certificate, "fullchain.pem", PORTAL, Conflict, "is being revoked")
    process_revocations()
    certificate.refresh_from_db()
    refused(certificate, "fullchain.pem", PORTAL, Conflict, "is revoked")


def test_a_root_that_the_ca_does_not_hand_out_is_said_so(certificate: Certificate) -> None:
    intermediate = certificate.chain.pem.partition("-----END CERTIFICATE-----\n")
    Chain.objects.filter(pk=certificate.chain.pk).update(pem="".join(intermediate[:2]))
    certificate = Certificate.objects.get(pk=certificate.pk)
    refused(certificate, "root.pem", PORTAL, NotFound, "does not hand out its root")
    assert len(ders(content_of(certificate, "fullchain.pem", authority=PORTAL)[0])) == 2


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("shop.example.com", "shop.example.com"),
        ("*.apps.example.com", "wildcard.apps.example.com"),
        ("SHOP.example.com", "shop.example.com"),
        ("2001:db8::1", "2001_db8__1"),
        ("a b;$(c)/..\\\"'.example.com", "a_b___c__..___.example.com"),
        ("..-hidden", "hidden"),
        ("h" * 200, "h" * 120),
    ],
)
def test_names_of_files_need_no_quoting_in_a_shell(name: str, stem: str) -> None:
    assert file_stem(Certificate(common_name=name)) == stem
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*", stem)


def test_a_name_of_which_nothing_remains_is_the_certificates_id() -> None:
    assert file_stem(Certificate(common_name="...", cert_id="cert-1")) == "cert-1"
