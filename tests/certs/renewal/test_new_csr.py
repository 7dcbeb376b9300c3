"""The OpenSSL command in the mail makes a CSR that the portal accepts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from certs.models import RequestDraft
from certs.renewal.new_csr import csr_command, csr_commands
from certs.renewal.plan import plan_renewals
from certs.requests.drafts import DraftFields, begin
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.spec import facts_of
from tests.certs.life import brought, issued, new_policy
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
MakeSpec = Callable[..., CertificateSpec]


def run(command: str, folder: Path) -> x509.CertificateSigningRequest:
    subprocess.run(["bash", "-ec", command], cwd=folder, check=True, capture_output=True)
    (made,) = folder.glob("*.csr")
    return x509.load_pem_x509_csr(made.read_bytes())


@pytest.mark.parametrize("key", ["rsa-3072", "ec-p256", "ec-p384", "ec-p521", "ed25519"])
def test_command_makes_a_csr_with_the_names_and_key_type_of_the_old_certificate(key: str, twin_portal: Requester, tmp_path: Path) -> None:
    certificate = issued(brought("shop.example.com"), twin_portal)
    (plan,) = plan_renewals([certificate], at=database_now())
    csr = run(csr_command(replace(plan, spec=replace(plan.spec, key=key))), tmp_path)
    facts = facts_of(csr.public_key())
    assert facts is not None
    assert facts.name == key
    assert csr.is_signature_valid
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example.com"]
    assert csr.subject.rfc4514_string() == "CN=shop.example.com"


def test_name_above_64_characters_is_in_the_alternative_names_alone(twin_portal: Requester, tmp_path: Path) -> None:
    name = f"{'a' * 60}.example.com"
    certificate = issued(brought("own.example.com"), twin_portal)
    (plan,) = plan_renewals([certificate], at=database_now())
    csr = run(csr_command(replace(plan, spec=replace(plan.spec, common_name="", dns_names=(name,)))), tmp_path)
    assert csr.subject.rfc4514_string() == ""
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


def test_command_asks_for_the_key_type_that_the_policy_of_now_wants(twin_portal: Requester) -> None:
    certificate = issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    (plan,) = plan_renewals([certificate], at=database_now())
    assert "ec_paramgen_curve:P-384" in csr_command(plan)


@pytest.mark.parametrize(("server", "tool"), [("tomcat", "keytool"), ("iis", "certreq.exe"), ("nginx", "openssl")])
def test_command_is_of_the_tool_with_which_the_server_has_made_its_key(portal: Portal, server: str, tool: str) -> None:
    """The command for a new key of a Java key store made a key file."""
    certificate = issued(brought("own.example.com"), portal.requester())
    begin(DraftFields(place="server", server=server), requester=portal.requester())
    RequestDraft.objects.update(request=certificate.request)
    (plan,) = plan_renewals([certificate], at=database_now())
    assert tool in csr_command(plan)
    assert len(csr_commands(plan)) == 3


def test_names_stay_one_argument_each(twin_portal: Requester, tmp_path: Path) -> None:
    spec = CertificateSpec("a/b;+=touch x.example.com", ("w.example.com",), ("192.0.2.1", "2001:db8::1"), "ec-p256", 90, "tls-server")
    certificate = issued(brought("own.example.com"), twin_portal)
    (plan,) = plan_renewals([certificate], at=database_now())
    csr = run(csr_command(replace(plan, spec=spec)), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    (common_name,) = csr.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert common_name.value == spec.common_name


def test_wildcard_makes_no_file_name_with_a_star(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(brought("own.example.com"), twin_portal)
    (plan,) = plan_renewals([certificate], at=database_now())
    command = csr_command(replace(plan, spec=make_spec("*.example.com")))
    assert "-keyout wildcard.example.com.key" in command
