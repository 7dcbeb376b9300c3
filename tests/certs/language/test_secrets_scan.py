"""Secrets are found in whatever people paste; certificates, CSRs and ordinary requests are not mistaken for them."""

from __future__ import annotations

import base64
import json
import secrets
import string
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID

from certs.enums import RefusalClass
from certs.errors import CSRRefused
from certs.language.secret_scan import find_secret
from certs.x509.csr.gate import read_csr
from tests.certs.x509.csr.test_pasted_secrets import SECRETS

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def random_text(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


PEM_KEYS = [
    ("private key (PKCS#8)", EC_KEY, PrivateFormat.PKCS8, NoEncryption()),
    ("private key (PKCS#8)", ED_KEY, PrivateFormat.PKCS8, NoEncryption()),
    ("private key (PEM)", EC_KEY, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    ("private key (PEM)", RSA_KEY, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    ("OpenSSH private key", ED_KEY, PrivateFormat.OpenSSH, NoEncryption()),
    ("encrypted private key (PKCS#8)", EC_KEY, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
]


@pytest.mark.parametrize(("kind", "key", "form", "encryption"), PEM_KEYS)
def test_private_key_is_found_whole_and_in_part(
    kind: str,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    form: PrivateFormat,
    encryption: serialization.KeySerializationEncryption,
) -> None:
    pem = key.private_bytes(Encoding.PEM, form, encryption).decode()
    found = find_secret(f"please use this: {pem} thanks")
    assert found is not None
    assert (found.kind, found.length) == (kind, len(pem.rstrip()))
    for spoilt in (pem[: len(pem) // 2], pem.replace("\n", "\\n"), pem.replace("\n", "\r\n"), pem.replace("\n", " ")):
        part = find_secret(spoilt)
        assert part is not None
        assert part.kind == kind
    bare = "\n".join(line for line in pem.splitlines() if "-----" not in line)
    naked = find_secret(bare)
    assert naked is not None
    assert naked.kind == "private key (base64)"


def test_raw_base64_of_every_der_is_found() -> None:
    for key, form in ((EC_KEY, PrivateFormat.PKCS8), (RSA_KEY, PrivateFormat.PKCS8), (RSA_KEY, PrivateFormat.TraditionalOpenSSL)):
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        found = find_secret(base64.b64encode(der).decode())
        assert found is not None
        assert found.kind == "private key (base64)"


TOKENS = [
    ("PGP private key", lambda: "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + random_text(60)),
    ("Vault token", lambda: "hvs." + random_text(24)),
    ("Vault token", lambda: "hvb." + random_text(90)),
    ("AWS access key", lambda: "AKIA" + random_text(16, string.ascii_uppercase)),
    ("GitHub token", lambda: "ghp_" + random_text(36)),
    ("GitHub token", lambda: "github_pat_" + random_text(50)),
    ("GitLab token", lambda: "glpat-" + random_text(20)),
    ("Slack token", lambda: "xoxb-" + random_text(20)),
    ("API key", lambda: "sk-ant-api03-" + random_text(40)),
    ("API key", lambda: "sk-proj-a1B-" + random_text(40)),
    ("API key", lambda: "sk-A1b" + random_text(45)),
    ("API key", lambda: "sk-" + random_text(32, "0123456789abcdef")),
    ("API key", lambda: "sk-or-v1-" + random_text(64, "0123456789abcdef")),
    ("JSON web token", lambda: f"eyJ{random_text(20)}.eyJ{random_text(40)}.{random_text(43)}"),
    ("password in a URL", lambda: "postgres://portal:" + random_text(12) + "@db.example.com/portal"),
    ("bearer token", lambda: "Authorization: Bearer " + random_text(30)),
    ("password", lambda: "password: " + random_text(10)),
    ("PuTTY private key", lambda: "PuTTY-User-Key-File-3: ssh-ed25519"),
    ("age secret key", lambda: "AGE-SECRET-KEY-1" + random_text(58, string.ascii_uppercase)),
]


@pytest.mark.parametrize(("kind", "make"), TOKENS)
def test_token_is_found_and_not_repeated(kind: str, make: object) -> None:
    assert callable(make)
    secret = make()
    found = find_secret(f"Issue certificate for api with {secret} please")
    assert found is not None
    assert found.kind == kind
    assert secret not in repr(found)


P8 = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DER = EC_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
P12 = serialize_key_and_certificates(b"x", EC_KEY, None, None, BestAvailableEncryption(b"x"))
DISGUISED = {
    "base64 of PEM": base64.b64encode(P8).decode(),
    "Kubernetes": f"  tls.key: {base64.b64encode(P8).decode()}",
    "URL-safe": base64.urlsafe_b64encode(DER).decode(),
    "behind a long name": f"private-key-of-the-frontend-production-cluster-0815 {base64.b64encode(DER).decode()}",
    "hexadecimal": DER.hex(),
    "hexadecimal with colons": DER.hex(":").upper(),
    "percent-encoded": quote(P8.decode()),
    "PKCS#12": base64.b64encode(P12).decode(),
    "JWK": json.dumps({"kty": "EC", "crv": "P-256", "d": random_text(43)}),
    "JSON": json.dumps({"user": "x", "password": random_text(12)}),
    "environment": f"export AWS_SECRET_ACCESS_KEY={random_text(39)}1",
    "secret": f"secret={random_text(20)}1a",
    "token": f"token: {random_text(20)}1a",
    "sentence": "the password is Tr0ub4dor&3",
    "German": "Passwort: geheim123",
    "Basic": "Authorization: Basic cG9ydGFsOnNlY3JldA==",
    "wide letters": "ｐａｓｓｗｏｒｄ：geheim123",
    "unseen characters": "pass\u200bword: geheim123",
}


@pytest.mark.parametrize("disguise", sorted(DISGUISED))
def test_disguised_secret_is_found(disguise: str) -> None:
    assert find_secret(DISGUISED[disguise]) is not None


KEYS = ["base64 of PEM", "Kubernetes", "URL-safe", "behind a long name", "hexadecimal", "hexadecimal with colons", "PKCS#12"]


@pytest.mark.parametrize("disguise", KEYS)
def test_disguised_key_in_place_of_a_csr_is_refused_as_a_secret(disguise: str) -> None:
    with pytest.raises(CSRRefused) as caught:
        read_csr(DISGUISED[disguise].encode(), domains=("example.test",))
    assert caught.value.refusal is RefusalClass.SECRET_PASTED


AS_TEXT = sorted(kind for kind, (data, _) in SECRETS.items() if data.isascii() or kind == "with typographic dashes")


@pytest.mark.parametrize("kind", [kind for kind in AS_TEXT if kind != "inside an attribute, in base64"])
def test_key_pasted_in_place_of_a_csr_is_found_in_any_text(kind: str) -> None:
    assert find_secret(SECRETS[kind][0].decode()) is not None


HARMLESS = [
    "",
    "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity",
    "Revoke certificate cert-5678 - reason: key compromise, the private key was leaked",
    "Renew cert-20250118143215-ab12 with a new key",
    "Revoke serial 4A:3F:2B:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00 - superseded",
    "https://api.example.com/path?x=1",
    "forgot my password, please help",
    "key type: rsa-4096",
    "sk-payments-frontend-production-01.example.com",
    "Issue a certificate for sk-bratislava-loadbalancer-internal-2 and SK-BRATISLAVA-LOADBALANCER-INTERNAL-3, P-256",
    "sk-proj-frontend-production-eu-west-1",
    f"sk-{'0a' * 16}.example.com",
    "sha256 " + "ab" * 32,
    "30" * 60,
    "Basic authentication of the metrics endpoint",
    "the password is required at the next sign-in",
    "token: the one of the CI server, secret: none",
    "100%25 of api.example.com",
    "begin with a new private key",
    "End of the private key's life: renew it",
    "certificate for the front-end private key",
    "FRONT-END PRIVATE KEY",
    json.dumps({"kty": "EC", "crv": "P-256", "x": "a" * 43, "y": "b" * 43}),
]


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_holds_no_secret(text: str) -> None:
    assert find_secret(text) is None


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY, ED_KEY])
def test_csr_and_public_key_hold_no_secret(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm).public_bytes(Encoding.PEM).decode()
    public = key.public_key().public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    for pem in (csr, public):
        assert find_secret(pem) is None
        assert find_secret("".join(pem.splitlines()[1:-1])) is None


def test_key_after_a_long_text_is_found() -> None:
    pem = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert find_secret("word " * 20_000 + pem) is not None


def test_many_beginnings_of_a_key_take_no_longer_than_their_length() -> None:
    assert find_secret("sk-" * 20_000) is None
    assert find_secret("sk-a " * 15_000) is None
    assert find_secret("token=" * 20_000) is None
    assert find_secret("password is " * 20_000) is None
    assert find_secret("30" * 40_000) is None
    assert find_secret("%41" * 20_000 + "ä") is None
