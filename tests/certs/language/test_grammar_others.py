"""Renewing and revoking in words; reasons are understood in people's spellings and never guessed."""

from __future__ import annotations

import pytest

from certs.enums import RevocationReason as R
from certs.spec import RenewPlan, RevokePlan
from tests.certs.language.examples import refusal, understood

RENEWALS = [
    ("Renew cert-5678", "cert-5678", False),
    ("Please renew certificate cert-5678.", "cert-5678", False),
    ("renew cert-20250118143215-ab12 with a new key", "cert-20250118143215-ab12", True),
    ("RENEW CERT-5678 WITH NEW KEY", "cert-5678", True),
    ("renew cert-5678, new key", "cert-5678", True),
    ("renew cert-5678 and rotate the key", "cert-5678", True),
    ("renew and rekey cert-5678", "cert-5678", True),
    ("renew cert-5678 keeping the key", "cert-5678", False),
    ("renew cert-5678 with the same key", "cert-5678", False),
    ("renew cert-5678 and keep the existing key", "cert-5678", False),
]


@pytest.mark.parametrize(("text", "cert_id", "new_key"), RENEWALS)
def test_renewal(text: str, cert_id: str, new_key: bool) -> None:
    plan = understood(text)
    assert isinstance(plan, RenewPlan)
    assert (plan.cert_id, plan.new_key) == (cert_id, new_key)
    assert plan.notes == (() if "key" in text.lower() else ("The key is kept; say 'with a new key' for a new one",))


NOT_RENEWALS = [
    ("Renew", "", "Which certificate?"),
    ("Renew api", "api", "or one of its names in full"),
    ("Renew cert-1 and api.example.com", "api.example.com", "Two certificates: 'cert-1' and 'api.example.com'; say one"),
    ("Renew serial", "serial", "The serial number is missing"),
    ("Renew cert-1 and cert-2", "cert-2", "Two certificates: 'cert-1' and 'cert-2'; say one"),
    ("Renew cert-1 for 90 days", "for 90 days", "a renewal takes a certificate's id"),
    ("Renew cert-1 with RSA 4096", "RSA 4096", "a renewal takes a certificate's id"),
    ("Renew cert-1 with a new key keeping the key", "keeping the key", "Two options for the key"),
    ("Renew cert-1 without a new key", "without", "a renewal takes a certificate's id"),
    ("Renew all certificates", "all", "a renewal takes a certificate's id"),
]


@pytest.mark.parametrize(("text", "at", "message"), NOT_RENEWALS)
def test_renewal_that_is_not_understood(text: str, at: str, message: str) -> None:
    error = refusal(text)
    assert message in error.message
    assert text[error.position :].startswith(at)


REASONS = {
    R.KEY_COMPROMISE: "key compromise|keyCompromise|key-compromise|key_compromise|compromised key|the key was compromised|"
    "the key was leaked|key is stolen|our private key has been compromised|private key leaked|private-key compromise|"
    "compromise of the key|the key has been exposed",
    R.CA_COMPROMISE: "CA compromise|cACompromise|the CA was compromised",
    R.AA_COMPROMISE: "aACompromise|AA compromise",
    R.AFFILIATION_CHANGED: "affiliation changed|affiliationChanged|the affiliation has changed|change of affiliation|affiliation-changed",
    R.SUPERSEDED: "superseded|it was replaced|supersede",
    R.CESSATION_OF_OPERATION: "cessation of operation|cessationOfOperation|cessation-of-operation|no longer used|"
    "it is no longer in use|no longer needed|decommissioned|the cert is retired|shut down|out of service",
    R.CERTIFICATE_HOLD: "certificateHold|certificate hold|on hold|put on hold|hold|suspended",
    R.PRIVILEGE_WITHDRAWN: "privilege withdrawn|privilegeWithdrawn|the privileges were withdrawn|privilege-withdrawn",
    R.UNSPECIFIED: "unspecified",
}
SPELLINGS = [(phrase, reason) for reason, phrases in REASONS.items() for phrase in phrases.split("|")]


@pytest.mark.parametrize(("phrase", "reason"), SPELLINGS)
@pytest.mark.parametrize(
    "frame", ["Revoke certificate cert-5678 - reason: {}", "revoke cert-5678 because {}", "Please revoke cert-5678, {}."]
)
def test_reason_in_peoples_spellings(frame: str, phrase: str, reason: R) -> None:
    assert understood(frame.format(phrase)) == RevokePlan(reason, cert_id="cert-5678")


def test_every_reason_of_the_rfc_is_known_by_its_name() -> None:
    assert {understood(f"revoke cert-1: {reason.value}") for reason in R} == {RevokePlan(reason, cert_id="cert-1") for reason in R}


FRAMES = [
    "Revoke cert-1 due to key compromise",
    "revoke cert-1 for key compromise",
    "revoke cert-1 with reason keyCompromise",
    "revoke cert-1 (key compromise)",
    "revoke cert-1: key compromise",
    "revoke cert-1 – key compromise",
    "revoke, because the key was leaked, cert-1",
    "revoke cert-1, key compromise, keyCompromise",
]


@pytest.mark.parametrize("text", FRAMES)
def test_sentence_around_the_reason(text: str) -> None:
    assert understood(text) == RevokePlan(R.KEY_COMPROMISE, cert_id="cert-1")


@pytest.mark.parametrize("tail", ["and destroy the key", ", destroy the private key", "and delete the key"])
def test_destroying_the_key_is_said_in_words(tail: str) -> None:
    assert understood(f"Revoke cert-1 - superseded {tail}") == RevokePlan(R.SUPERSEDED, cert_id="cert-1", destroy_key=True)


SERIALS = [
    ("4A:3F:2B", 0x4A3F2B),
    ("4a:3f:2b", 0x4A3F2B),
    ("4A-3F-2B", 0x4A3F2B),
    ("AB-CD", 0xABCD),
    ("4A3F2B", 0x4A3F2B),
    ("0x4a3f2b", 0x4A3F2B),
    ("12d", 0x12D),
    (":".join(["7F"] * 20), int("7F" * 20, 16)),
]


@pytest.mark.parametrize(("spelling", "number"), SERIALS)
@pytest.mark.parametrize(
    "frame", ["Revoke serial {} - superseded", "revoke certificate with serial number: {}, superseded", "Revoke serial={} superseded"]
)
def test_serial_number_in_any_spelling(frame: str, spelling: str, number: int) -> None:
    assert understood(frame.format(spelling)) == RevokePlan(R.SUPERSEDED, serial_number=number)


def test_serial_of_digits_is_decimal_and_says_so() -> None:
    plan = understood("Revoke serial 123456789012345678901234 - superseded")
    note = "The serial number 123456789012345678901234 is read as decimal; write 0x123456789012345678901234 for hexadecimal"
    assert plan == RevokePlan(R.SUPERSEDED, serial_number=123456789012345678901234, notes=(note,))


@pytest.mark.parametrize(
    ("spelling", "number"),
    [("serial=0A47", 0xA47), ("serial=1234", 0x1234), ("serial: 00:75:E1", 0x75E1), ("serial 4:3F:2B", 0x43F2B), ("00:75:E1", 0x75E1)],
)
def test_serial_number_as_openssl_prints_it_names_a_certificate_in_both_workflows(spelling: str, number: int) -> None:
    """O8"""
    assert understood(f"Revoke {spelling} - superseded") == RevokePlan(R.SUPERSEDED, serial_number=number)
    renewal = understood(f"Renew {spelling} with a new key")
    assert renewal == RenewPlan(new_key=True, serial_number=number)


NAMES = [
    "api.example.com",
    "*.example.com",
    "10.0.0.1",
    "2001:db8::1",
    "cert-01.example.com",
    "bücher.example.com",
    "superseded.example.com",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", ["{}", "certificate for {}", "the certificate of {}", '"{}"'])
def test_full_name_stands_for_a_certificate(frame: str, name: str) -> None:
    """O9"""
    named = frame.format(name)
    assert understood(f"Renew {named} keeping the key") == RenewPlan(keep_key=True, name=name)
    assert understood(f"Revoke {named}: superseded") == RevokePlan(R.SUPERSEDED, name=name)


NOT_REVOCATIONS = [
    ("Revoke cert-1", "", "Why? A reason is needed: key compromise, superseded"),
    ("Revoke - superseded", "", "Which certificate?"),
    ("Revoke cert-1 because of reasons", "reasons", "'reasons' is not understood in a revocation; reasons are: key compromise"),
    ("Revoke cert-1, compromised", "compromised", "is not understood in a revocation"),
    ("Revoke cert-1 - removeFromCRL", "removeFromCRL", "is not understood in a revocation"),
    ("Revoke cert-1 - key compromise and superseded", "superseded", "Two reasons: 'key compromise' and 'superseded'; say one"),
    ("Revoke cert-1 because the key was not compromised", "key was not compromised", "is not understood in a revocation"),
    ("Revoke cert-1 - superseded, do not destroy the key", "do not", "is not understood in a revocation"),
    ("Revoke cert-1 and cert-2 - superseded", "cert-2", "Two certificates"),
    ("Revoke cert-1 serial 4A - superseded", "4A", "Two certificates"),
    ("Revoke api.example.com, b.example.com - superseded", "b.example.com", "Two certificates"),
    ("Revoke api - superseded", "api", "is not understood in a revocation"),
    ("Revoke serial api.example.com - superseded", "api.example.com", "or a certificate's id, such as cert-5678"),
    ("Revoke serial", "serial", "The serial number is missing"),
    ("Revoke serial xyz - superseded", "xyz", "'xyz' is not a serial number"),
    ("Revoke serial 0 - superseded", "0", "'0' is not a serial number"),
    ("Revoke serial " + "F" * 41 + " - superseded", "FFF", "is not a serial number"),
    ("Revoke all certificates - superseded", "all", "is not understood in a revocation"),
]


@pytest.mark.parametrize(("text", "at", "message"), NOT_REVOCATIONS)
def test_revocation_that_is_not_understood(text: str, at: str, message: str) -> None:
    error = refusal(text)
    assert message in error.message
    assert text[error.position :].startswith(at)
