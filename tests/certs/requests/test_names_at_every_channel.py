"""One rule for names at every channel, and the policy alone decides which of them a team may have."""

from __future__ import annotations

import copy
import io
import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.management import call_command
from django.test import Client

from certs.bulk.drafting.draft import draft
from certs.bulk.drafting.upload import lines_of_items, read_lines
from certs.errors import CSRRefused
from certs.models import BulkItem, CertificateRequest
from certs.requests.plan import Fields, plan_csr, plan_fields
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.certs.api.test_issue import Api
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def by_words(portal: Portal, name: str, _folder: Path) -> list[str]:
    _, told = Api(portal.token()).post("/requests/words", {"text": f"Issue certificate for {name}", "plan_only": True})
    return [str(one) for one in told["plan"][0]["sans"]]


def by_rest(portal: Portal, name: str, _folder: Path) -> list[str]:
    api = Api(portal.token())
    status, told = api.post("/requests", {"common_name": name})
    assert status == 202, told
    row = CertificateRequest.objects.get(public_id=told["requests"][0]["audit_reference"])
    return [*row.dns_names, *row.ip_addresses]


def by_form(portal: Portal, name: str, _folder: Path) -> list[str]:
    client = Client()
    client.force_login(portal.alice)
    draft = client.post("/new/", {"place": "vault", "team": "web", "names": name})
    spec = client.get(f"{draft['Location']}plan/").context["judged"].spec
    return [*spec.dns_names, *spec.ip_addresses]


def by_items(portal: Portal, name: str, _folder: Path) -> list[str]:
    (line,) = lines_of_items([{"name": name}], requester=portal.requester())
    assert line.spec is not None, line.problem
    return [*line.spec.dns_names, *line.spec.ip_addresses]


def by_table(portal: Portal, name: str, _folder: Path) -> list[str]:
    (line,) = read_lines(f'name\n"{name}"\n'.encode(), filename="a.csv", requester=portal.requester())
    assert line.spec is not None, line.problem
    return [*line.spec.dns_names, *line.spec.ip_addresses]


def by_command(_portal: Portal, name: str, _folder: Path) -> list[str]:
    out = io.StringIO()
    call_command("issue", cn=name, dry_run=True, json=True, team="web", stdout=out)
    return [str(one) for one in json.loads(out.getvalue())["plan"][0]["sans"]]


def by_csr(portal: Portal, name: str, _folder: Path) -> list[str]:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    (spec,) = plan_csr(csr.public_bytes(Encoding.PEM), requester=portal.requester()).specs
    return [*spec.dns_names, *spec.ip_addresses]


CHANNELS = [by_words, by_rest, by_form, by_items, by_table, by_command, by_csr]
Channel = Callable[[Portal, str, Path], list[str]]


@pytest.fixture
def addresses_allowed(portal: Portal) -> None:
    """A policy that allows 10.0.0.0/8."""
    policy: dict[str, Any] = copy.deepcopy(DEFAULT_V2_3)
    policy["version"] = "v2.4"
    policy["rules"]["ip_addresses"]["networks"] = ["10.0.0.0/8"]
    now = database_now()
    publish_version(draft_version("default", policy, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.__name__)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a.example.com.", "a.example.com"),
        ("DNS:a.example.com", "a.example.com"),
        ("dns=A.Example.com.", "a.example.com"),
        ("IP:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
@pytest.mark.usefixtures("addresses_allowed")
def test_name_means_the_same_at_every_channel(portal: Portal, channel: Channel, written: str, meant: str, tmp_path: Path) -> None:
    """Findings G2 and G7."""
    assert channel(portal, written, tmp_path) == [meant]


@pytest.mark.usefixtures("addresses_allowed")
def test_address_that_was_given_as_common_name_is_that_of_the_certificate(portal: Portal) -> None:
    """Through a CSR, whose subject is written anew, as through fields and sentences."""
    requester = portal.requester()
    (by_fields,) = plan_fields(Fields(common_name="10.0.0.1"), requester=requester).specs
    assert by_fields.common_name == "10.0.0.1"
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.NameAttribute(x509.NameOID.COMMON_NAME, "10.0.0.1")
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([name])).add_extension(address, critical=False)
    text = builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    status, answer = Api(portal.token()).post("/certificates/issue", {"csr": text})
    assert status == 200, answer
    issued = x509.load_pem_x509_certificate(answer["certificate"].encode())
    assert [one.value for one in issued.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)] == ["10.0.0.1"]
    assert issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == address


@pytest.mark.usefixtures("addresses_allowed")
def test_certificate_for_an_address_without_a_common_name_has_an_empty_subject_and_a_critical_san(portal: Portal) -> None:
    """RFC 5280 4.1.2.6. The portal's certificates are judged by other programs at the end of each test."""
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.2"))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(address, critical=False)
    text = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM).decode()
    status, answer = Api(portal.token()).post("/certificates/issue", {"csr": text})
    assert status == 200, answer
    issued = x509.load_pem_x509_certificate(answer["certificate"].encode())
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (list(issued.subject), names.critical, names.value) == ([], True, address)


def test_prefix_does_not_make_a_bare_label_a_full_name_for_programs(portal: Portal) -> None:
    """REST completes nothing."""
    (line,) = lines_of_items([{"name": "DNS:api"}], requester=portal.requester())
    assert (line.spec, line.field) == (None, "name")


def csr_with_address(address: str) -> str:
    names = [x509.DNSName("a.example.com"), x509.IPAddress(ipaddress.ip_address(address))]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.usefixtures("addresses_allowed")
def test_address_of_a_csr_that_the_policy_allows_is_in_the_certificate(portal: Portal) -> None:
    """Finding G2."""
    status, told = Api(portal.token()).post("/certificates/issue", {"csr": csr_with_address("10.0.0.1")})
    assert status == 200, told
    certificate = x509.load_pem_x509_certificate(told["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]


def test_address_of_a_csr_that_the_policy_does_not_allow_is_refused_by_the_policy(portal: Portal) -> None:
    """Finding G2."""
    status, told = Api(portal.token()).post("/certificates/issue", {"csr": csr_with_address("192.0.2.1")})
    assert (status, told["policy_version"], "192.0.2.1" in told["detail"]) == (403, "v2.3", True)
    lines = read_lines(csr_with_address("192.0.2.1").encode(), filename="a.csr", requester=portal.requester())
    order = draft(lines, requester=portal.requester(), title="addresses")
    assert order.items.get().outcome == BulkItem.Outcome.DENY


def test_advice_on_a_key_is_what_the_policy_in_force_accepts(portal: Portal) -> None:
    """Finding G8."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.sign(ed448.Ed448PrivateKey.generate(), None).public_bytes(Encoding.PEM)
    with pytest.raises(CSRRefused) as caught:
        plan_csr(csr, requester=portal.requester())
    assert "v2.3 accepts: RSA ≥ 3072 bits, ECDSA P-256, ECDSA P-384, ECDSA P-521, Ed25519." in caught.value.next_step
    (line,) = read_lines(csr, filename="a.csr", requester=portal.requester())
    assert "RSA 3072" in line.problem
    assert "2048" not in line.problem
