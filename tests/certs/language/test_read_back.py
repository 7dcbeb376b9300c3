"""The canonical sentence of a plan is read back as the same plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.enums import RevocationReason
from certs.errors import NotUnderstood
from certs.language.grammar import parse
from certs.spec import CertificateSpec, IssuePlan, RenewPlan, RevokePlan
from keys.spec import KeySpec
from tests.certs.language.examples import DEFAULTS, issued, understood
from tests.certs.language.sentences import spell

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.builds(
    lambda star, labels: f"{star}{'.'.join(labels)}.example", st.sampled_from(["", "*."]), st.lists(LABEL, min_size=1, max_size=3)
)
ADDRESS = st.ip_addresses().map(lambda address: address.compressed).filter(lambda text: "%" not in text)
SETTINGS = st.tuples(
    st.sampled_from([spec.value for spec in KeySpec]), st.integers(1, 36500), st.sampled_from(["tls-server", "tls-client"])
)


def spec_of(dns: list[str], addresses: list[str], asked: tuple[str, int, str]) -> CertificateSpec:
    return CertificateSpec((dns + addresses)[0], tuple(dns), tuple(addresses), *asked)


ONE = st.builds(
    lambda dns, addresses, asked: IssuePlan((spec_of(dns, addresses, asked),)),
    st.lists(NAME, min_size=1, max_size=10, unique=True),
    st.lists(ADDRESS, max_size=3, unique=True),
    SETTINGS,
)
MANY = st.builds(
    lambda names, asked: IssuePlan(tuple(spec_of([name], [], asked) for name in names)),
    st.lists(NAME, min_size=2, max_size=20, unique=True),
    SETTINGS,
)
CERT_ID = st.from_regex(r"cert-[0-9]{1,14}(-[a-z0-9]{1,8})?", fullmatch=True)


@given(ONE | MANY)
@settings(max_examples=200, deadline=None)
def test_issue_plan_is_read_back(plan: IssuePlan) -> None:
    assert issued(spell(plan)).specs == plan.specs


@given(CERT_ID, st.booleans())
@settings(deadline=None)
def test_renewal_is_read_back(cert_id: str, new_key: bool) -> None:
    assert understood(spell(RenewPlan(cert_id, new_key))) == RenewPlan(cert_id, new_key, keep_key=not new_key)


@given(st.sampled_from(RevocationReason), CERT_ID | st.integers(1, (1 << 160) - 1), st.booleans())
@settings(deadline=None)
def test_revocation_is_read_back(reason: RevocationReason, target: str | int, destroy: bool) -> None:
    plan = RevokePlan(reason, destroy_key=destroy, **({"cert_id": target} if isinstance(target, str) else {"serial_number": target}))
    assert understood(spell(plan)) == plan


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_plan_or_a_refusal(text: str) -> None:
    for prefix in ("", "Issue certificate for ", "Renew cert-1 ", "Revoke cert-1 "):
        try:
            parse(prefix + text, DEFAULTS)
        except NotUnderstood as error:
            assert 0 <= error.position <= len(prefix + text)  # noqa: PT017 - both ends are right, no other error is


WORDS = (
    "issue certificate certificates for api www , and with RSA EC 4096 P-256 90 days until 2027-01-31 SANs CN through each 10 key size a"
)


@given(st.lists(st.sampled_from(WORDS.split())))
@settings(max_examples=500, deadline=None)
def test_any_order_of_words_is_a_plan_or_a_refusal(words: list[str]) -> None:
    text = " ".join(words)
    try:
        plan = parse(text, DEFAULTS)
    except NotUnderstood as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017 - both ends are right, no other error is
    else:
        assert isinstance(plan, IssuePlan)
        assert all(spec.dns_names for spec in plan.specs)


def test_what_no_sentence_can_say_is_refused() -> None:
    (one,) = issued("certificate for api").specs
    for specs in (
        (replace(one, csr_der=b""),),
        (one, replace(one, validity_days=1)),
        (one, replace(one, dns_names=("a.example", "b.example"))),
    ):
        with pytest.raises(ValueError, match=r"CSR|sentence each"):
            spell(IssuePlan(specs))
