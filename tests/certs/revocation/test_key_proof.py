"""Proof of a private key: one signature, over a challenge of this portal, for one key, within an hour."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from django.core import signing

from certs.errors import InputRefused
from certs.models import Certificate
from certs.requests.submit import Requester
from certs.revocation.key_proof import MAX_AGE, PREFIX, SALT, challenge_for, check_proof
from db.clock import database_now
from tests.certs.life import brought, issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def certificate(twin_portal: Requester) -> Certificate:
    return issued(brought("own.example.com", key=KEY), twin_portal)


def signed(text: str, key: Any = KEY) -> str:
    return base64.b64encode(key.sign(text.encode(), ec.ECDSA(SHA256()))).decode()


def refused(certificate: Certificate, challenge: str, signature: str) -> tuple[str, str]:
    with pytest.raises(InputRefused) as caught:
        check_proof(certificate, challenge=challenge, signature=signature)
    assert caught.value.next_step
    return caught.value.field, caught.value.message


def test_a_signature_of_the_key_over_the_challenge_is_a_proof(certificate: Certificate) -> None:
    challenge = challenge_for(certificate)
    assert challenge.startswith(PREFIX)
    assert challenge.isascii()
    assert challenge != challenge_for(certificate)
    signature = signed(challenge)
    check_proof(certificate, challenge=challenge, signature=signature)
    wrapped = "\n".join(signature[start : start + 20] for start in range(0, 200, 20))
    check_proof(certificate, challenge=challenge, signature=wrapped)  # base64 as tools wrap it


def test_a_signature_of_another_key_or_over_another_text_is_none(certificate: Certificate) -> None:
    challenge = challenge_for(certificate)
    other = ec.generate_private_key(ec.SECP256R1())
    for signature in (signed(challenge, other), signed(challenge + "x"), signed(""), "", "not base64!", base64.b64encode(b"x").decode()):
        assert refused(certificate, challenge, signature) == ("signature", "The signature is not one by this certificate's key.")


def test_a_challenge_is_good_for_an_hour(certificate: Certificate) -> None:
    challenge = challenge_for(certificate)
    with time_machine.travel(database_now().timestamp() + MAX_AGE + 5, tick=False):
        field, said = refused(certificate, challenge, signed(challenge))
    assert (field, "older than an hour" in said) == ("challenge", True)


def test_a_challenge_of_another_key_is_refused(certificate: Certificate, twin_portal: Requester) -> None:
    other = issued(brought("other.example.com"), twin_portal)
    challenge = challenge_for(other)
    assert refused(certificate, challenge, signed(challenge)) == ("challenge", "The challenge was made for another key.")


def test_a_text_that_is_not_the_portals_is_no_challenge(certificate: Certificate) -> None:
    content = {"spki": certificate.spki_sha256, "nonce": "0"}
    for text in ("", PREFIX, "hello", challenge_for(certificate)[:-1], PREFIX + signing.dumps(content, salt=f"{SALT}x")):
        assert refused(certificate, text, signed(text))[0] == "challenge"


def test_without_its_prefix_a_challenge_proves_nothing(certificate: Certificate) -> None:
    """The prefix separates what is signed here from what the owner signs for another purpose."""
    bare = challenge_for(certificate).removeprefix(PREFIX)
    assert refused(certificate, bare, signed(bare))[0] == "challenge"


def test_rsa_and_ed25519_keys_prove_themselves_in_their_own_way(twin_portal: Requester) -> None:
    big, edwards = rsa.generate_private_key(65537, 3072), ed25519.Ed25519PrivateKey.generate()
    of_big = issued(brought("rsa.example.com", key=big), twin_portal)
    of_edwards = issued(brought("ed.example.com", key=edwards), twin_portal)
    one, two = challenge_for(of_big), challenge_for(of_edwards)
    check_proof(of_big, challenge=one, signature=base64.b64encode(big.sign(one.encode(), padding.PKCS1v15(), SHA256())).decode())
    check_proof(of_edwards, challenge=two, signature=base64.b64encode(edwards.sign(two.encode())).decode())
    assert refused(of_edwards, two, signed(two))[0] == "signature"
