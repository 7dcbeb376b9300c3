"""A spliced TBS is the builder's, byte for byte, whatever the names, keys, serials and dates; and so is what a CSR signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from certs.x509.certificate.profiles import TLS_CLIENT, TLS_SERVER
from certs.x509.certificate.tbs import build_tbs
from certs.x509.certificate.template import Addresses, Subject, splice_tbs
from keys.spec import spki_der
from tests.certs.x509.certificate.chains import ISSUER_KINDS, LEAF_KINDS, issuer_of, key_of

ADDRESSES = Addresses("http://pki.example.com/pki/crl/a.crl", "http://pki.example.com/pki/ocsp/a", "http://pki.example.com/pki/ca/a.crt")
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=5).map(".".join)
ORGANIZATION = st.sampled_from(["", "Example Ltd", "Пример", "例"])
MOMENT = st.datetimes(datetime(2026, 1, 1), datetime(2070, 1, 1)).map(lambda t: t.replace(tzinfo=UTC, microsecond=0))  # noqa: DTZ001


@settings(deadline=None)  # the first key of each kind is made inside
@given(
    kind=st.sampled_from(LEAF_KINDS),
    issuer_kind=st.sampled_from(ISSUER_KINDS),
    common_name=st.one_of(st.just(""), NAME, st.just("long." * 13 + "example.com")),
    dns=st.lists(NAME, max_size=5).map(tuple),
    ips=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    organization=ORGANIZATION,
    serial=st.integers(min_value=1 << 63, max_value=(1 << 159) - 1),
    start=MOMENT,
    days=st.integers(min_value=1, max_value=400),
    profile=st.sampled_from([TLS_SERVER, TLS_CLIENT]),
)
def test_equals_the_builders(
    kind: str,
    issuer_kind: str,
    common_name: str,
    dns: tuple[str, ...],
    ips: tuple[str, ...],
    organization: str,
    serial: int,
    start: datetime,
    days: int,
    profile: Any,
) -> None:
    issuer, spki = issuer_of(issuer_kind), spki_der(key_of(kind).public_key())
    dates: dict[str, Any] = {"not_before": start, "not_after": start + timedelta(days=days) - timedelta(seconds=1)}
    names: dict[str, Any] = {"common_name": common_name, "dns_names": dns, "ip_addresses": ips, "organization": organization}
    built = build_tbs(
        profile=profile,
        issuer=issuer.certificate,
        spki_der=spki,
        serial=serial,
        crl_url=ADDRESSES.crl,
        ocsp_url=ADDRESSES.ocsp,
        ca_issuers_url=ADDRESSES.ca_issuers,
        **names,
        **dates,
    )
    spliced = splice_tbs(
        profile=profile,
        issuer_der=issuer.der,
        subject=Subject(spki_der=spki, **names),
        serial=serial,
        addresses=ADDRESSES,
        **dates,
    )
    assert spliced == built
