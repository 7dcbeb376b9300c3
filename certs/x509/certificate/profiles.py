"""Certificate profiles: what a kind of certificate is for, and which key usages go with which key. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

EKU_OIDS: dict[str, ObjectIdentifier] = {
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
EKU_NAMES: dict[ObjectIdentifier, str] = {oid: name for name, oid in EKU_OIDS.items()}


@dataclass(frozen=True, slots=True)
class Profile:
    """`ekus` are extended key usages by RFC 5280 name; key usages follow from the key's family (RFC 5280 4.2.1.3, RFC 8446)."""

    name: str
    ekus: tuple[str, ...]

    def key_usage(self, family: str) -> x509.KeyUsage:
        """Return digitalSignature for every key, and keyEncipherment besides for the RSA key of a TLS server.

        TLS 1.2 clients with RSA key exchange encrypt to the server's key; nobody encrypts to a client's
        (RFC 5280 4.2.1.12: keyEncipherment goes with serverAuth, not with clientAuth).
        """
        return x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=family == "rsa" and "serverAuth" in self.ekus,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=False,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )

    def extended_key_usage(self) -> x509.ExtendedKeyUsage:
        return x509.ExtendedKeyUsage([EKU_OIDS[name] for name in self.ekus])


TLS_SERVER = Profile("tls-server", ("serverAuth",))
TLS_CLIENT = Profile("tls-client", ("clientAuth",))
_PROFILES = {profile.name: profile for profile in (TLS_SERVER, TLS_CLIENT)}


PROFILE_NAMES = frozenset(_PROFILES)


# Neither Chromium nor the browsers based on it make TLS connections with these keys.
_NOT_FOR_BROWSERS = {"ec-p521": "a P-521", "ed25519": "an Ed25519"}


def purpose_note(profile: str, key: str) -> str:
    """Return a warning where a key type does not serve the purpose of the profile, "" where it does."""
    known = _PROFILES.get(profile)
    if known is None or "serverAuth" not in known.ekus or key not in _NOT_FOR_BROWSERS:
        return ""
    return (
        f"Browsers based on Chromium make no TLS connection to a server with {_NOT_FOR_BROWSERS[key]} key. "
        "For a web server choose P-256, P-384 or RSA."
    )


def profile_named(name: str) -> Profile:
    """Raises KeyError for a profile that no certificate is made of."""
    return _PROFILES[name]
