"""Requests for certificates, as people write them, one phrase a line."""

from __future__ import annotations

from datetime import date

import pytest

from certs.spec import CertificateSpec, IntakeDefaults, Validity
from certs.uploads.formats.validity_cell import read_validity
from keys.spec import KeySpec
from tests.certs.language.examples import DEFAULTS, TODAY, issued

API = ("api.example.com",)

# text, names of the one certificate, key, days, profile
ONE = [
    ("Issue TLS certificate for api.example.com with RSA 4096, 90-day validity", API, "rsa-4096", 90, "tls-server"),
    ("Request a certificate for api.example.com and www.example.com", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    ("Please issue a new TLS cert for the host api.", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api", API, "rsa-3072", 90, "tls-server"),
    ("cert api.example.com", API, "rsa-3072", 90, "tls-server"),
    ("Issue api.example.com", API, "rsa-3072", 90, "tls-server"),
    ("I would like to request a certificate for api, thanks!", API, "rsa-3072", 90, "tls-server"),
    ("We need an SSL certificate for the website www", ("www.example.com",), "rsa-3072", 90, "tls-server"),
    ("can you get me a certificate for api?", API, "rsa-3072", 90, "tls-server"),
    ("ISSUE CERTIFICATE FOR API.EXAMPLE.COM WITH ECDSA P-256", API, "ec-p256", 90, "tls-server"),
    ("Issue a 90-day RSA-4096 TLS certificate for api.example.com", API, "rsa-4096", 90, "tls-server"),
    ('Issue certificate for "api.example.com"', API, "rsa-3072", 90, "tls-server"),
    ("Issue certificate for “api.example.com”", API, "rsa-3072", 90, "tls-server"),
    ("Issue certificate for 'server'", ("server.example.com",), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api.example.com.", API, "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api.example.com (RSA 4096, 30 days)", API, "rsa-4096", 30, "tls-server"),
    ("Issue certificate for api.example.com; RSA 4096; 30 days", API, "rsa-4096", 30, "tls-server"),
    ("Issue certificate\nfor api.example.com\n\twith RSA 4096", API, "rsa-4096", 90, "tls-server"),
    # names
    (
        "Issue certificate for api with SANs www, mail.example.com",
        (*API, "www.example.com", "mail.example.com"),
        "rsa-3072",
        90,
        "tls-server",
    ),
    ("Issue certificate for api with SAN www and RSA 4096", (*API, "www.example.com"), "rsa-4096", 90, "tls-server"),
    (
        "Issue certificate for api with subject alternative names www, mail",
        (*API, "www.example.com", "mail.example.com"),
        "rsa-3072",
        90,
        "tls-server",
    ),
    ("Issue certificate for api including www", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate with CN api.example.com and SANs: www.example.com", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for CN=api.example.com, SAN=www.example.com", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    (
        "Issue certificate with SANs www, mail and common name api",
        (*API, "www.example.com", "mail.example.com"),
        "rsa-3072",
        90,
        "tls-server",
    ),
    ("Issue certificate for api, also for www", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api & www", (*API, "www.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api, www, and mail", (*API, "www.example.com", "mail.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for *.apps.example.com", ("*.apps.example.com",), "rsa-3072", 90, "tls-server"),
    ("Issue a wildcard certificate for *.apps.example.com", ("*.apps.example.com",), "rsa-3072", 90, "tls-server"),
    ("issue cert api.example.com rsa4096 90d", API, "rsa-4096", 90, "tls-server"),
    ("api.example.com certificate, RSA 4096", API, "rsa-4096", 90, "tls-server"),
    ("Issue an RSA certificate with 4096 bits for api", API, "rsa-4096", 90, "tls-server"),
    ("Create a certificate for api.example.com, key type ECDSA P-256, validity 1 year", API, "ec-p256", 365, "tls-server"),
    ("Issue certificate for api-1 through api-3", tuple(f"api-{n}.example.com" for n in (1, 2, 3)), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api-{1..3}.example.com", tuple(f"api-{n}.example.com" for n in (1, 2, 3)), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for a and b", ("a.example.com", "b.example.com"), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for bücher.example.com", ("xn--bcher-kva.example.com",), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for BÜCHER.example.com", ("xn--bcher-kva.example.com",), "rsa-3072", 90, "tls-server"),
    ("Issue certificate for api.example.com and api.example.com", API, "rsa-3072", 90, "tls-server"),
    ("Issue certificate for host.example.com, site", ("host.example.com", "site.example.com"), "rsa-3072", 90, "tls-server"),
    # keys
    ("certificate for api with RSA 2048", API, "rsa-2048", 90, "tls-server"),
    ("certificate for api with RSA-3072", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api with rsa4096", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api with 4096-bit RSA", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api with a 4096 bit RSA key", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api, RSA with 4096 bits", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api, RSA key size 4096", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api, key: RSA 4096", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api with a new key RSA 4096", API, "rsa-4096", 90, "tls-server"),
    ("certificate for api with a 3072-bit key", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api with RSA", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api with P-256", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with P256", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with ECDSA P384", API, "ec-p384", 90, "tls-server"),
    ("certificate for api with EC secp384r1", API, "ec-p384", 90, "tls-server"),
    ("certificate for api with prime256v1", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with NIST P-521", API, "ec-p521", 90, "tls-server"),
    ("certificate for api with elliptic curve P-256", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with ECDSA 256", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with ecdsa-p521", API, "ec-p521", 90, "tls-server"),
    ("certificate for api with ec-p256", API, "ec-p256", 90, "tls-server"),
    ("certificate for api with 384-bit ECDSA", API, "ec-p384", 90, "tls-server"),
    ("certificate for api with Ed25519", API, "ed25519", 90, "tls-server"),
    ("certificate for api with ML-DSA-65", API, "ml-dsa-65", 90, "tls-server"),
    ("certificate for api with ml-dsa 87", API, "ml-dsa-87", 90, "tls-server"),
    ("certificate for api with MLDSA44", API, "ml-dsa-44", 90, "tls-server"),
    # validity
    ("certificate for api, 90 days", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api for 30 days", API, "rsa-3072", 30, "tls-server"),
    ("certificate for api, 30d", API, "rsa-3072", 30, "tls-server"),
    ("certificate for api valid for 2 weeks", API, "rsa-3072", 14, "tls-server"),
    ("certificate for api valid for 3 months", API, "rsa-3072", 92, "tls-server"),
    ("certificate for api with a validity of 1 year", API, "rsa-3072", 365, "tls-server"),
    ("certificate for api for a year", API, "rsa-3072", 365, "tls-server"),
    ("a one year certificate for api", API, "rsa-3072", 365, "tls-server"),
    ("certificate for api for two years", API, "rsa-3072", 731, "tls-server"),
    ("certificate for api until 2027-01-31", API, "rsa-3072", 68, "tls-server"),
    ("certificate for api expiring on 2027-01-31", API, "rsa-3072", 68, "tls-server"),
    ("certificate for api expiring on 31 January 2027", API, "rsa-3072", 68, "tls-server"),
    ("certificate for api until Jan 31, 2027", API, "rsa-3072", 68, "tls-server"),
    ("certificate for api valid through 31.01.2027", API, "rsa-3072", 68, "tls-server"),
    ("certificate for api, expires in 90 days", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api lifetime: 45 days", API, "rsa-3072", 45, "tls-server"),
    ("90 days certificate for api, valid for 90 days", API, "rsa-3072", 90, "tls-server"),
    # profile
    ("TLS client certificate for api", API, "rsa-3072", 90, "tls-client"),
    ("mTLS client certificate for api", API, "rsa-3072", 90, "tls-client"),
    ("mutual TLS server certificate for api", API, "rsa-3072", 90, "tls-server"),
    ("client authentication certificate for api", API, "rsa-3072", 90, "tls-client"),
    ("web server certificate for api", API, "rsa-3072", 90, "tls-server"),
    ("certificate for the server api", API, "rsa-3072", 90, "tls-server"),
    ("certificate for api with profile tls-client", API, "rsa-3072", 90, "tls-client"),
    ("certificate for api, profile: tls-server", API, "rsa-3072", 90, "tls-server"),
]


def days_from_today(spec: CertificateSpec) -> int | None:
    return (spec.not_after - TODAY).days if spec.not_after else spec.validity_days


@pytest.mark.parametrize(("text", "names", "key", "days", "profile"), ONE)
def test_one_certificate(text: str, names: tuple[str, ...], key: str, days: int, profile: str) -> None:
    (spec,) = issued(text).specs
    assert (spec.common_name, spec.dns_names) == (names[0], names)
    assert (spec.key, days_from_today(spec), spec.profile) == (key, days, profile)
    assert (spec.ip_addresses, spec.csr_der) == ((), None)


TEN = tuple(f"api-{n}.example.com" for n in range(1, 11))
MANY = [
    ("Issue certificates for api-1 through api-10, all RSA 4096, 90 days", TEN),
    ("Issue certificates for api-1 to api-10", TEN),
    ("Issue certificates from api-1 to api-10", TEN),
    ("Issue certificates for api-1..api-10", TEN),
    ("Issue certificates for api-1 .. api-10", TEN),
    ("Issue certificates for api-1 – api-10", TEN),
    ("Issue certificates for api-1 thru 10", TEN),
    ("Issue certificates for api-1.example.com through api-10.example.com", TEN),
    ("Issue certificates for api-1 through api-10.example.com", TEN),
    ("Issue certificates for api-1.example.com through 10", TEN),
    ("Issue certificates for api-{1..10}", TEN),
    ("Issue certificates for api-{1..10}.example.com", TEN),
    ("Issue 10 certificates for api-1 through api-10", TEN),
    ("Issue 10 P-256 certificates for api-1 through api-10", TEN),
    ("We need certificates for all of api-1 through api-10, 90 days each", TEN),
    ("Issue ten TLS certificates for api-1 through api-10", TEN),
    ("Issue one certificate each for api-1 through api-10", TEN),
    ("Issue a certificate for each of api-1 through api-10", TEN),
    ("Issue individual certs for API-1 through API-10", TEN),
    ("Issue certificates for api-01 through api-10", tuple(f"api-{n:02}.example.com" for n in range(1, 11))),
    ("Issue certificates for n098 through n102", tuple(f"n{n:03}.example.com" for n in range(98, 103))),
    ("Issue certificates for n{098..102}", tuple(f"n{n:03}.example.com" for n in range(98, 103))),
    ("Issue certificates for {web,api}-{1..2}", tuple(f"{w}-{n}.example.com" for w in ("web", "api") for n in (1, 2))),
    ("Issue certificates for web, api and db", ("web.example.com", "api.example.com", "db.example.com")),
    ("Issue certificates for a, b and host", ("a.example.com", "b.example.com", "host.example.com")),
    ("Issue certificates for api-1 through api-2, db-1 through db-2", tuple(f"{w}-{n}.example.com" for w in ("api", "db") for n in (1, 2))),
    ("Issue certificates for api-5 through api-5", ("api-5.example.com",)),
    ("Issue certificates for api", ("api.example.com",)),
    ("Issue certificates for r1-n1.example.com through r1-n3.example.com", tuple(f"r1-n{n}.example.com" for n in (1, 2, 3))),
    ("Issue certificates for api-1, api-1 and api-2", ("api-1.example.com", "api-2.example.com")),
]


@pytest.mark.parametrize(("text", "names"), MANY)
def test_one_certificate_for_each_name(text: str, names: tuple[str, ...]) -> None:
    plan = issued(text)
    assert tuple(spec.common_name for spec in plan.specs) == names
    assert all(spec.dns_names == (spec.common_name,) for spec in plan.specs)


def test_everybody_in_an_order_gets_the_same_key_and_validity() -> None:
    plan = issued("Issue certificates for api-1 through api-10, all RSA 4096, 90 days")
    assert {(spec.key, spec.validity_days, spec.profile) for spec in plan.specs} == {("rsa-4096", 90, "tls-server")}


def test_addresses() -> None:
    (spec,) = issued("Issue certificate for 10.0.0.1, 2001:DB8:0::1 and api").specs
    assert (spec.common_name, spec.dns_names, spec.ip_addresses) == ("api.example.com", API, ("10.0.0.1", "2001:db8::1"))
    (bare,) = issued("Issue certificate for IP 10.0.0.1").specs
    assert (bare.common_name, bare.dns_names, bare.ip_addresses) == ("10.0.0.1", (), ("10.0.0.1",))


def test_every_default_is_said() -> None:
    assert issued("certificate for api").notes == (
        "Completed with the default domain example.com: api.example.com",
        "Key RSA 3072: the policy's default",
        "Validity 90 days: the policy's default",
        "Profile tls-server: the policy's default",
    )
    assert issued("TLS server certificate for api.example.com with RSA 4096, 90 days").notes == ()


NOTES = [
    ("server certificate for a.example.com and b.example.com, P-256, 90 days", "One certificate with 2 names"),
    ("server certificates for a.example.com and b.example.com, P-256, 90 days", "2 certificates, one for each name"),
    (
        "server certificate for bücher.example.com, P-256, 90 days",
        "bücher.example.com is written xn--bcher-kva.example.com in a certificate",
    ),
    ("server certificate for a.example.com, a.example.com, P-256, 90 days", "Asked for more than once, taken once: a.example.com"),
    (
        "server certificate for a.example.com, P-256, 3 months",
        "3 months = until 2027-02-24, 92 days from today, to the end of that day (UTC)",
    ),
    ("server certificate for a.example.com, P-256, until 2027-01-31", "until 2027-01-31, 68 days from today, to the end of that day (UTC)"),
    (
        "server certificate for a.example.com, 3072-bit key, 90 days",
        "3072-bit is understood as RSA 3072: no other kind of key has that size",
    ),
    ("server certificate for a.example.com, RSA, 90 days", "Key RSA 3072: the policy's default among RSA keys"),
]


@pytest.mark.parametrize(("text", "note"), NOTES)
def test_assumption_is_said(text: str, note: str) -> None:
    assert issued(text).notes == (note,)


@pytest.mark.parametrize("text", ["31 January", "January 31", "January 31,", "31 January 2027,", "Jan 31, 2027,"])
def test_a_key_size_after_a_date_is_no_year(text: str) -> None:
    (spec,) = issued(f"certificate for api until {text} 4096 bit RSA").specs
    assert (spec.not_after, spec.key) == (date(2027, 1, 31), "rsa-4096")


def test_defaults_come_from_the_caller() -> None:
    defaults = IntakeDefaults(domain="corp.test", key=KeySpec.EC_P384, validity_days=10, profile="vpn", profiles=("vpn",))
    (spec,) = issued("certificate for api", defaults).specs
    assert (spec.common_name, spec.key, spec.validity_days, spec.profile) == ("api.corp.test", "ec-p384", 10, "vpn")


def test_ten_thousand_are_one_sentence() -> None:
    plan = issued("Issue certificates for n-{1..100}-{1..100} with ec-p256")
    assert len({spec.common_name for spec in plan.specs}) == 10_000


@pytest.mark.parametrize("day", ["31/01/2027", "2027/01/31", "2027-1-31", "31-01-2027", "31.1.2027", "2027-01-31T00:00:00Z"])
def test_end_date_in_digits_is_read_as_in_a_table(day: str) -> None:
    """D4"""
    (spec,) = issued(f"Issue certificate for api until {day}").specs
    assert spec.validity == read_validity(day, DEFAULTS)[0] == Validity(None, date(2027, 1, 31))
